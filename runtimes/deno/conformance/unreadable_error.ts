export function main() {
  const refuse = () => {
    throw new Error("no");
  };
  throw new Proxy({}, { getPrototypeOf: refuse, get: refuse, ownKeys: refuse });
}
