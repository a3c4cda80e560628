export function main() {
  const kept: object[] = [];
  for (;;) kept.push({ number: kept.length });
}
