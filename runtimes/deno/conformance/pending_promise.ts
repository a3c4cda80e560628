export function main() {
  return new Promise(() => {});
}
