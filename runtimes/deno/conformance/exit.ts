export function main() {
  console.log("last words");
  Deno.exit(3);
}
