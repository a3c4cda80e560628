export async function main() {
  Promise.reject(new TypeError("nobody waits for this"));
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  return "not reached";
}
