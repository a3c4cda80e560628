export function main(
  text: string,
  integer: number,
  fraction: number,
  truth: boolean,
  nothing: null,
  list: unknown[],
  object: { inner: boolean[] },
) {
  return {
    text: text + "!",
    integer: integer + 1,
    fraction: fraction / 2,
    truth: !truth,
    nothing: nothing === null,
    list: list.length,
    object: object.inner,
  };
}
