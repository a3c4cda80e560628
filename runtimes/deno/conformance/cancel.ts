export async function main() {
  Deno.addSignalListener("SIGINT", () => {
    console.log("cleaned up");
    Deno.exit(130);
  });
  console.log("begun");
  await new Promise((resolve) => setTimeout(resolve, 60_000));
}
