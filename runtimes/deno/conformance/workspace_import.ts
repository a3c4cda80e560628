import { x } from "./other.ts";

export function main() {
  return x;
}
