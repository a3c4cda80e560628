export function main() {
  const value: Record<string, unknown> = {};
  value.self = value;
  return value;
}
