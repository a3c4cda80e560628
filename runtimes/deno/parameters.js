// Finds out how the script's function wants its arguments.
//
// Names and order come from the function itself, whose text (Deno has taken the types out) is
// always that of the right function, wherever it was declared. Which parameters are typed `Date`
// stands only in the script's source: there every declaration of that name is read, and the one
// with the same parameters in the same order counts. Both texts are read by the same small
// scanner, which knows strings, templates, comments, regular expressions, brackets and generics.
//
// `...rest` takes the elements of the argument of that name, if it is an array. A destructured
// parameter has no name, so it takes all arguments as one object.

const CLOSING = { "(": ")", "[": "]", "{": "}" };
// After one of these a slash begins a regular expression; after anything else it divides.
const BEFORE_REGEX = /[(,=:[!&|?{};+\-*%<>~^]/;
// Type arguments as in `new Map<string, number>()`. TypeScript takes them for that, too.
const TYPE_ARGUMENTS = /<[\w$\s,.|&[\]{}:;?"'<>]*>(?=\s*\()/y;
const NAME = "[\\p{ID_Start}$_][\\p{ID_Continue}$\\u200c\\u200d]*";

const functionText = Function.prototype.toString;
const { apply } = Reflect;
const { hasOwn } = Object;
const { isArray } = Array;

/** What to call the function with, given the job's arguments and the script's source. */
export function bind(main, name, args, source) {
  const parameters = parametersOf(main);
  const declared = typedParameters(source, [name, main.name], parameters);
  const values = [];
  for (const [index, parameter] of parameters.entries()) {
    const value = argumentFor(parameter, args);
    if (parameter.rest) {
      values.push(...(isArray(value) ? value : value === undefined ? [] : [value]));
    } else if (declared && isDate(declared[index].type) && value !== undefined && value !== null) {
      values.push(new Date(value));
    } else {
      values.push(value);
    }
  }
  return values;
}

function argumentFor(parameter, args) {
  if (parameter.destructured) return parameter.rest ? undefined : args;
  return hasOwn(args, parameter.name) ? args[parameter.name] : undefined;
}

/** The parameters of a function, by its own text. A class or a native function has none. */
export function parametersOf(main) {
  const text = apply(functionText, main, []);
  const single = new RegExp(`^(?:async\\s+)?(${NAME})\\s*=>`, "u").exec(text);
  if (single) return [parameter(single[1], "")];
  if (/^class\b/.test(text)) return [];
  const open = findOpening(text, 0);
  return (open >= 0 && readList(text, open)) || [];
}

/** The same parameters with their types, as the script declares them; null if it does not. */
export function typedParameters(source, names, parameters) {
  if (!source.includes("Date")) return null;
  for (const name of new Set(names)) {
    const escaped = name.replaceAll("$", "\\$");
    const declaration = new RegExp(
      `\\b(?:function\\s*\\*?|(const|let|var))\\s+${escaped}(?![\\p{ID_Continue}$])`,
      "gu",
    );
    for (const match of source.matchAll(declaration)) {
      const end = match.index + match[0].length;
      const open = match[1] ? openingOfValue(source, end) : openingAfter(source, end);
      const list = open >= 0 ? readList(source, open) : null;
      if (list && isSameList(list, parameters)) return list;
    }
  }
  return null;
}

function isSameList(list, parameters) {
  return list.length === parameters.length &&
    list.every((one, index) =>
      one.name === parameters[index].name && one.rest === parameters[index].rest
    );
}

/** `Date`, also in brackets, or with null or undefined beside it. */
export function isDate(type) {
  const kinds = type.replace(/[()\s]/g, "").split("|")
    .filter((kind) => kind !== "" && kind !== "null" && kind !== "undefined");
  return kinds.length === 1 && kinds[0] === "Date";
}

function parameter(pattern, type) {
  const rest = pattern.startsWith("...");
  const name = pattern.replace(/^\.\.\./, "").replace(/\?$/, "").trim();
  const destructured = name.startsWith("{") || name.startsWith("[");
  return { name: destructured ? "" : name, rest, destructured, type };
}

/** Where the parameter list of `const main = …` opens, or -1 if its value is no function. */
function openingOfValue(text, at) {
  let depth = 0;
  for (let i = at; i < text.length; i = after(text, i)) {
    const character = text[i];
    if (character in CLOSING || character === "<") depth++;
    else if (")]}>".includes(character)) depth -= text[i - 1] === "=" ? 0 : 1;
    else if (depth === 0 && ";\n".includes(character) && text.slice(at, i).trim()) return -1;
    else if (depth === 0 && character === "=" && text[i + 1] !== ">") {
      return openingAfter(
        text,
        skip(text, i + 1, /(?:async\b)?\s*(?:function\b\s*\*?\s*[\w$]*)?/y),
      );
    }
  }
  return -1;
}

/** Where the list opens that follows at once, after type parameters if there are any; or -1. */
function openingAfter(text, at) {
  let i = skip(text, at);
  if (text[i] === "<") {
    let depth = 0;
    do {
      if (text[i] === "<") depth++;
      else if (text[i] === ">" && text[i - 1] !== "=") depth--;
      i = after(text, i);
    } while (depth > 0 && i < text.length);
    i = skip(text, i);
  }
  return text[i] === "(" ? i : -1;
}

/** The first opening bracket outside comments and strings; or -1. */
function findOpening(text, at) {
  for (let i = at; i < text.length; i = after(text, i)) {
    if (text[i] === "(") return i;
  }
  return -1;
}

/** The position after white space and comments, and what else may stand there. */
function skip(text, at, optional) {
  let i = at;
  while (i < text.length && (/\s/.test(text[i]) || isComment(text, i))) i = after(text, i);
  if (optional) {
    optional.lastIndex = i;
    return skip(text, i + optional.exec(text)[0].length);
  }
  return i;
}

function isComment(text, at) {
  return text.startsWith("//", at) || text.startsWith("/*", at);
}

/** The position after what begins here: one character, or a whole comment, string or the like. */
function after(text, at) {
  const character = text[at];
  if (character === '"' || character === "'") return afterQuoted(text, at, character);
  if (character === "`") return afterTemplate(text, at);
  if (text.startsWith("//", at)) return endOf(text, text.indexOf("\n", at), 0);
  if (text.startsWith("/*", at)) return endOf(text, text.indexOf("*/", at + 2), 2);
  if (character === "/" && isRegexHere(text, at)) return afterRegex(text, at);
  return at + 1;
}

function isRegexHere(text, at) {
  let before = at - 1;
  while (before >= 0 && /\s/.test(text[before])) before--;
  return before < 0 || BEFORE_REGEX.test(text[before]);
}

function endOf(text, found, length) {
  return found < 0 ? text.length : found + length;
}

function afterQuoted(text, at, quote) {
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === quote) return i + 1;
  }
  return text.length;
}

function afterRegex(text, at) {
  let inClass = false;
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === "[") inClass = true;
    else if (text[i] === "]") inClass = false;
    else if (text[i] === "/" && !inClass) return i + 1;
  }
  return text.length;
}

function afterTemplate(text, at) {
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === "`") return i + 1;
    else if (text.startsWith("${", i)) i = afterBrackets(text, i + 1) - 1;
  }
  return text.length;
}

/** The position after the bracket that closes the one here. */
function afterBrackets(text, at) {
  let depth = 0;
  let i = at;
  do {
    if (text[i] in CLOSING) depth++;
    else if (")]}".includes(text[i])) depth--;
    i = after(text, i);
  } while (depth > 0 && i < text.length);
  return i;
}

/** Reads the parameter list that opens here; null if it never closes. */
function readList(text, open) {
  const list = [];
  let parts = { name: "", type: "", value: "" };
  let part = "name";
  const finish = () => {
    const pattern = parts.name.trim();
    if (pattern && pattern !== "this") list.push(parameter(pattern, parts.type));
    parts = { name: "", type: "", value: "" };
    part = "name";
  };
  let angles = 0;
  for (let i = open + 1; i < text.length;) {
    const character = text[i];
    if (angles === 0) {
      if (character === ")") {
        finish();
        return list;
      }
      if (character === "," || character === ":" && part === "name" || isDefault(text, i, part)) {
        if (character === ",") finish();
        else part = character === ":" ? "type" : "value";
        i++;
        continue;
      }
    }
    if (part === "type" && character === "<") angles++;
    if (part === "type" && character === ">" && text[i - 1] !== "=") angles--;
    const next = afterToken(text, i, part);
    if (!isComment(text, i)) parts[part] += text.slice(i, next);
    i = next;
  }
  return null;
}

function isDefault(text, at, part) {
  return text[at] === "=" && text[at + 1] !== ">" && part !== "value";
}

/** Like `after`, and over brackets and their content, and type arguments in a default. */
function afterToken(text, at, part) {
  if (text[at] in CLOSING) return afterBrackets(text, at);
  if (part === "value" && text[at] === "<") {
    TYPE_ARGUMENTS.lastIndex = at;
    const match = TYPE_ARGUMENTS.exec(text);
    if (match) return at + match[0].length;
  }
  return after(text, at);
}
