import { x } from "https://modules.invalid/never/mod.ts";

export function main() {
  return x;
}
