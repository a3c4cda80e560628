// Makes JSON text out of what the script's function returned, and a description out of what was
// thrown.
//
// Result: undefined, as the result or in it, is null; a BigInt is a string; functions are left
// out; everything else is as JSON.stringify has it.
// Error: the trace names the script's frames only, not the runner's. message and stack are cut
// at 64 KiB each: of a message the beginning is kept, of a stack both ends, because it begins
// with the message and ends with the frames.

const TEXT_BYTES_MAX = 64 * 1024;
const CAUSES_MAX = 10;
// deno-lint-ignore no-control-regex
const COLOURS = /\x1b\[[0-9;]*m/g;
const NO_DEPENDENCIES = "Installing dependencies and importing other workspace scripts are not " +
  "available in this version; a script can import Deno's own modules and those of node:";

const { stringify } = JSON;
const { keys } = Object;
const ErrorClass = Error;
const encoder = new TextEncoder();
const encode = encoder.encode.bind(encoder);
const runtimeUrl = new URL(".", import.meta.url).href;

export { encode };

/** A failure that is not an exception of the script's own. */
export class Refusal extends Error {
  constructor(reason, message) {
    super(message);
    this.reason = reason;
  }
}

function plain(_key, value) {
  if (value === undefined) return null;
  return typeof value === "bigint" ? `${value}` : value;
}

/** The value as JSON text. */
export function toJson(value) {
  try {
    return stringify(value, plain) ?? "null";
  } catch (error) {
    // An exception of the script's own toJSON has the script's frames on top.
    const [frame] = ownFrames(error);
    if (frame !== undefined && !frame.includes("stringify (<anonymous>)")) throw error;
    const [why] = textOf(error.message).split("\n");
    throw new Refusal("result_not_json", `the result cannot be written as JSON: ${why}`);
  }
}

/** What a generator, plain or async, or another async iterable gives; else null. */
export function itemsOf(value) {
  if (value === null || typeof value !== "object") return null;
  const isGenerator = Object.prototype.toString.call(value) === "[object Generator]";
  return isGenerator || typeof value[Symbol.asyncIterator] === "function" ? value : null;
}

/** A streamed item as one line; a newline in it is written as backslash and n. */
export function streamLine(item) {
  const text = typeof item === "string" ? item : toJson(item);
  return `WM_STREAM: ${text.replaceAll("\n", "\\n")}\n`;
}

/** What is said about a failed script: `text` for the service, `trace` for the log. */
export function describe(thrown, jobUrl) {
  let error;
  try {
    error = accountOf(thrown, jobUrl);
  } catch {
    error = { name: "Error", message: "<an error that cannot be read>", reason: "script_error" };
  }
  const shown = error.stack || `${error.name}: ${error.message}`;
  const added = error.reason === "dependency_error" ? `\n${error.name}: ${error.message}` : "";
  return { text: stringify(error), trace: `${shown}${added}\n` };
}

function accountOf(thrown, jobUrl) {
  if (!(thrown instanceof ErrorClass)) {
    return { name: "Error", message: cut(messageOfValue(thrown)), reason: "script_error" };
  }
  if (thrown instanceof Refusal) {
    return { name: "ExecutionErr", message: cut(thrown.message), reason: thrown.reason };
  }
  const local = (text) => text.replace(COLOURS, "").replaceAll(jobUrl, "");
  let name = nameOf(thrown);
  let message = textOf(thrown.message);
  const stack = cut(local(stackOf(thrown)), true);
  if (isModuleError(thrown)) {
    message = local(message);
    if (!message.startsWith("SyntaxError: ")) {
      const [first] = message.split("\n");
      message = cut(`${first.replace(/\.$/, "")}. ${NO_DEPENDENCIES}`);
      return { name: "ExecutionErr", message, stack, reason: "dependency_error" };
    }
    name = "SyntaxError";
    message = message.slice("SyntaxError: ".length);
  } else if (thrown instanceof SyntaxError) {
    message = local(message);
  }
  const extra = extraOf(thrown);
  return {
    name,
    message: cut(message),
    stack,
    ...(keys(extra).length > 0 ? { extra } : {}),
    reason: "script_error",
  };
}

/** Deno gives every module that cannot be loaded this code, also one that does not parse. */
function isModuleError(error) {
  return error.code === "ERR_MODULE_NOT_FOUND" || error.code === "MODULE_NOT_FOUND";
}

/** Its own name if it has been given one, else its class's. */
function nameOf(error) {
  const prototype = Object.getPrototypeOf(error);
  const isNamed = Object.hasOwn(error, "name") || Object.hasOwn(prototype, "name");
  const name = isNamed ? error.name : error.constructor?.name;
  return typeof name === "string" && name !== "" ? name : "Error";
}

function messageOfValue(value) {
  if (value !== null && typeof value === "object") {
    try {
      return stringify(value, plain) ?? textOf(value);
    } catch {
      return textOf(value);
    }
  }
  return textOf(value);
}

function textOf(value) {
  try {
    return String(value);
  } catch {
    return "<a value that has no text>";
  }
}

/** The trace without the runner's frames, followed by those of its causes. */
function stackOf(error) {
  const stacks = [];
  for (let one = error; one instanceof ErrorClass && stacks.length < CAUSES_MAX; one = one.cause) {
    const lines = typeof one.stack === "string" ? one.stack.split("\n") : [];
    const kept = lines.filter((line) => !isRunnerFrame(line)).join("\n");
    stacks.push(kept || `${nameOf(one)}: ${textOf(one.message)}`);
  }
  return stacks.join("\nCaused by: ");
}

function ownFrames(error) {
  const lines = typeof error?.stack === "string" ? error.stack.split("\n") : [];
  return lines.filter((line) => /^\s+at /.test(line) && !isRunnerFrame(line));
}

function isRunnerFrame(line) {
  return /^\s+at /.test(line) && line.includes(runtimeUrl);
}

/** The exception's own properties, as many as are JSON and fit. */
function extraOf(error) {
  const extra = {};
  let room = TEXT_BYTES_MAX;
  for (const key of keys(error)) {
    if (["name", "message", "stack", "cause"].includes(key)) continue;
    try {
      const text = stringify(error[key], plain);
      room -= text === undefined ? 0 : key.length + text.length;
      if (text !== undefined && room >= 0) extra[key] = JSON.parse(text);
    } catch {
      continue;
    }
  }
  return extra;
}

/** The text in at most TEXT_BYTES_MAX bytes, with a mark where something is left out. */
function cut(text, keepEnd = false) {
  // A character has three bytes at most, so that this much text is enough to look at.
  if (text.length * 3 <= TEXT_BYTES_MAX) return text;
  const bytes = encode(text);
  if (bytes.length <= TEXT_BYTES_MAX) return text;
  const mark = ` [… cut: ${bytes.length} bytes in all …] `;
  const room = TEXT_BYTES_MAX - encode(mark).length;
  const tail = keepEnd ? Math.floor(room / 4) : 0;
  const first = new TextDecoder().decode(bytes.subarray(0, room - tail), { stream: true });
  let start = bytes.length - tail;
  while ((bytes[start] & 0xc0) === 0x80) start++;
  return first + mark + new TextDecoder().decode(bytes.subarray(start));
}
