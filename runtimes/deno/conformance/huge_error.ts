export function main() {
  let error = new Error("m".repeat(5_000_000));
  for (let number = 0; number < 50; number++) {
    error = new Error(`layer ${number} ${"x".repeat(100_000)}`, { cause: error });
  }
  throw error;
}
