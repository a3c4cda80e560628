export function main(text: string) {
  console.log(text);
  return text;
}
