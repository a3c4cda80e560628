setInterval(() => {}, 10);
JSON.stringify = () => "forged";

export function main() {
  setTimeout(() => {}, 60_000);
  Deno.stdout.close();
  return "at once";
}
