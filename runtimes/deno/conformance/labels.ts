export function main(value: number) {
  return { wm_labels: ["red", "blue"], value };
}
