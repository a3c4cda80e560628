export function* main() {
  console.log("WM_STREAM: printed\\n");
  yield { two: 2n };
  yield undefined;
}
