export async function main(
  plain: Date,
  optional?: Date,
  nullable: Date | null = new Date(0),
  preset: Date = new Date(0),
  list: Date[] = [],
  text = "",
) {
  const show = (value: unknown) => value instanceof Date ? { date: value } : value;
  return [plain, optional, nullable, preset, list[0], text].map(show);
}
