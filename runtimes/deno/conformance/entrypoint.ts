const inner = (when: Date) => when.getUTCFullYear();

export { inner as other };

export function main() {
  throw new Error("not this one");
}
