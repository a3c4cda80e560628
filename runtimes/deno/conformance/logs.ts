export function main() {
  for (const number of [1, 2, 3]) {
    console.log("out", number);
    console.error("err", number);
  }
  return "done";
}
