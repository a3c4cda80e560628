export function main() {
  return {
    bigint: 2n ** 70n,
    nothing: undefined,
    list: [undefined, 1n, NaN, Infinity, -0, () => 1],
    function: () => 1,
    date: new Date(0),
    map: new Map([["a", 1]]),
    surrogate: "\ud800",
    nul: "a\0b",
  };
}
