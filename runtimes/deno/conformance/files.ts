export async function main() {
  await Deno.copyFile("args.json", "copy.json");
  return JSON.parse(await Deno.readTextFile("copy.json")).value;
}
