// Runs one TypeScript script: imports it, calls its main with the job's arguments, hands the
// result over.
//
// The other side is jobinit, process 1 of the container. Descriptor 3 takes one newline when we
// have booted and later exactly one JSON document; descriptor 4 gives the job's environment once
// there is a job. By then ./main.ts and ./args.json are in place. Deno can open them by path
// only, and node's file functions would more than double the time of the boot.
//
// Plain JavaScript, so that nothing has to be compiled at boot. What the hand-over needs is
// bound before user code runs. The process ends at once after the result: timers and open
// connections neither delay nor change it. When nothing is left that could settle what main
// promised, that is an error at once, not a time-out.

import { bind } from "./parameters.js";
import { describe, encode, itemsOf, Refusal, streamLine, toJson } from "./outcome.js";

const SOURCE = "main.ts";
const CHUNK_BYTES = 1 << 20;

const { exit, stdout, stderr } = Deno;
const { apply } = Reflect;
const { subarray } = Uint8Array.prototype;
const channel = Deno.openSync("/proc/self/fd/3", { write: true });
const write = (file) => {
  const writeSync = file.writeSync.bind(file);
  return (text) => {
    const data = encode(text);
    for (let at = 0; at < data.length;) {
      at += writeSync(apply(subarray, data, [at, at + CHUNK_BYTES]));
    }
  };
};
const [toChannel, toStdout, toStderr] = [channel, stdout, stderr].map(write);

let isHandedOver = false;

/** Sends {key: text}, where text is JSON, and ends the process. */
function handOver(key, text, status) {
  if (isHandedOver) return;
  isHandedOver = true;
  try {
    toChannel(`{"${key}":`);
    toChannel(text);
    toChannel("}");
  } finally {
    exit(status);
  }
}

function fail(thrown) {
  if (isHandedOver) return;
  const { text, trace } = describe(thrown, jobUrl);
  try {
    toStderr(trace);
  } catch {
    // The script has closed it.
  }
  handOver("error", text, 1);
}

/** Waits for a job; its variables are what arrives on descriptor 4 until that is closed. */
function takeEnvironment() {
  const jobs = Deno.openSync("/proc/self/fd/4");
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(65536);
  let records = "";
  for (let count; (count = jobs.readSync(buffer)) !== null;) {
    records += decoder.decode(buffer.subarray(0, count), { stream: true });
  }
  jobs.close();
  for (const record of records.split("\0")) {
    const equals = record.indexOf("=");
    if (equals > 0) Deno.env.set(record.slice(0, equals), record.slice(equals + 1));
  }
}

function readArgs() {
  let args;
  try {
    args = JSON.parse(Deno.readTextFileSync("args.json"));
  } catch (error) {
    throw new Refusal("bad_input", `the arguments cannot be read as JSON: ${error.message}`);
  }
  if (args === null || typeof args !== "object" || Array.isArray(args)) {
    throw new Refusal("bad_input", "the arguments are not a JSON object");
  }
  return args;
}

/** An error that nobody awaits or catches ends the script, as Deno would have it. */
function failOnStrayErrors() {
  for (const [type, key] of [["unhandledrejection", "reason"], ["error", "error"]]) {
    globalThis.addEventListener(type, (event) => {
      if (!event.defaultPrevented) fail(event[key]);
    });
  }
}

/** Deno is about to end because it has nothing more to do, but there is no result yet. */
function failOnStandstill() {
  globalThis.addEventListener("beforeunload", () => {
    fail(new Refusal("script_error", "the script waits for a promise that nothing can settle"));
  });
}

async function runScript() {
  const source = Deno.readTextFileSync(SOURCE);
  const { _ENTRYPOINT_OVERRIDE: override, ...args } = readArgs();
  const entry = override || "main";
  const specifier = jobUrl + SOURCE;
  const module = await import(specifier);
  const main = module[entry];
  if (typeof main !== "function") {
    throw new TypeError(`${SOURCE} does not export a function named ${entry}`);
  }
  failOnStrayErrors();
  const result = await main(...bind(main, entry, args, source));
  const items = itemsOf(result);
  if (items === null) return toJson(result);
  for await (const item of items) toStdout(streamLine(item));
  return "null";
}

toChannel("\n");
const jobUrl = new URL(`file://${encodeURI(Deno.cwd())}/`).href;
takeEnvironment();
failOnStandstill();
runScript().then((text) => handOver("result", text, 0), fail);
