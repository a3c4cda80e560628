export async function main(name: string, numbers: number[]) {
  console.log(`hello ${name}, this is Deno ${Deno.version.deno}`);
  const sum = numbers.reduce((a, b) => a + b);
  return { sum, reversed: numbers.toReversed() };
}
