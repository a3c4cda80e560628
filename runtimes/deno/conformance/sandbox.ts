// sandbox {image:deno}
export function main(value: string) {
  return [value, Deno.cwd(), Deno.uid()];
}
