export async function main() {
  const before = [...Deno.readDirSync("./shared")].map((entry) => entry.name).sort();
  await Deno.writeTextFile("./shared/note", "written");
  return { before, after: await Deno.readTextFile("/shared/note") };
}
