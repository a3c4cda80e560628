export function main() {
  throw { status: 404, big: 1n };
}
