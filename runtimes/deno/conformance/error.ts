class Boom extends Error {
  code = 7;
  detail = { seen: [1, null] };
  cleanUp = () => {}; // not JSON: left out of `extra`
}

function explode(text: string): never {
  throw new Boom(text);
}

export function main(text: string) {
  explode(text);
}
