// By name, in the order of the parameters, whatever stands between them.
type Pair<A, B> = [A, B];

export const main = async <T extends Record<string, number>>(
  last: T, /* not one: (a, b) */
  first: Pair<string, Map<string, number>>, // nor this: c)
  missing?: string,
  nothing: string | null = "default",
  absent: (a: number, b: string) => string = (a, b) => `${a},${b})`,
  text = ",)`'\"",
  pattern = /[,)/]\//,
  { deep: [inner], other = 1 < 2 }: { deep: number[]; other?: boolean } = { deep: [0] },
  ...rest: number[]
) => {
  await Promise.resolve();
  return [last, first, missing, nothing, absent(1, "b"), text, pattern.source, inner, other, rest];
};
