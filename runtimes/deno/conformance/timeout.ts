export async function main() {
  console.log("begun");
  await new Promise((resolve) => setTimeout(resolve, 60_000));
}
