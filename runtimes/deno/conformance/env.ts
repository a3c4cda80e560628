export function main() {
  return {
    job: Deno.env.get("WM_JOB_ID"),
    greeting: Deno.env.get("GREETING"),
    empty: Deno.env.get("EMPTY"),
    foreign: Object.keys(Deno.env.toObject()).filter((name) => name.startsWith("EXECUTOR")).sort(),
  };
}
