export async function main() {
  const { default: chalk } = await import("npm:chalk@5");
  return chalk;
}
