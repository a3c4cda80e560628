export async function* main() {
  yield "one\ntwo";
  console.log("between");
  await Promise.resolve();
  yield "three";
}
