/*
 * Runs first in every context and gives back the function that evaluates one expression.
 *
 * The expression shares this context and may change every object in it, so whatever is needed after it has
 * begun is captured here. It can spoil its own result and nothing else: the host takes the outcome from
 * `tell`, once, and both `ask` and `tell` are gone from the global object before the expression is compiled.
 *
 * The host puts this file on one line (hence no line comments, and a semicolon after each statement): then every
 * stack frame below line 4 of "<input>" is the expression's own.
 */
(() => {
  "use strict";
  const global = globalThis;
  const { ask, tell, String, Object, Error, InternalError, RangeError, Proxy, Reflect } = global;
  delete global.ask;
  delete global.tell;
  const { parse, stringify } = JSON;
  const { defineProperty, prototype: inherited } = Object;
  const { get, has, ownKeys, getOwnPropertyDescriptor, apply } = Reflect;
  const slice = String.prototype.slice;
  const AsyncFunction = (async () => {}).constructor;
  /* Characters of an error's text, and of its stack, that are handed on. */
  const TEXT = 4096;

  /* One answer of the host: [0, value] | [1]: unknown | [2, message]: refused | a string: why the answer cannot be taken in */
  const question = (what, key) => {
    const answer = ask(stringify({ __proto__: null, what, key }));
    if (typeof answer === "string") throw new InternalError(answer);
    if (answer[0] === 2) throw new Error(answer[1]);
    return answer;
  };

  const own = (target, key, value) =>
    defineProperty(target, key, { __proto__: null, value, writable: true, enumerable: true, configurable: true });

  /* A property that is made when it is first read. */
  const lazy = (target, key, make) => {
    let made = false;
    let value;
    const get = () => { if (!made) { value = make(); made = true; } return value; };
    const set = (given) => { value = given; made = true; };
    defineProperty(target, key, { __proto__: null, get, set, enumerable: true, configurable: true });
  };

  const resultsById = () => {
    const known = {};
    let ids;
    const holds = (id) => getOwnPropertyDescriptor(known, id) !== undefined;
    const fetch = (id) => { const answer = question("result", id); return answer[0] === 1 ? null : answer[1]; };
    const listed = () => {
      if (ids === undefined) {
        ids = { __proto__: null };
        const answer = question("ids", "")[1];
        for (let i = 0; i < answer.length; i++) ids[answer[i]] = true;
      }
      return ids;
    };
    const show = (id) => { if (!holds(id)) lazy(known, id, () => fetch(id)); };
    return new Proxy(known, {
      __proto__: null,
      get: (_, id, self) => {
        if (typeof id === "symbol" || holds(id)) return get(known, id, self);
        const answer = question("result", id);
        if (answer[0] === 1) return has(inherited, id) ? get(known, id, self) : null;
        own(known, id, answer[1]);
        return answer[1];
      },
      set: (_, id, value) => { own(known, id, value); return true; },
      has: (_, id) => has(known, id) || (typeof id === "string" && listed()[id] === true),
      ownKeys: () => { for (const id in listed()) show(id); return ownKeys(known); },
      getOwnPropertyDescriptor: (_, id) => {
        if (typeof id === "string" && listed()[id] === true) show(id);
        return getOwnPropertyDescriptor(known, id);
      },
    });
  };

  const declare = (request) => {
    const { names } = request;
    for (const name in names) {
      const text = names[name];
      lazy(global, name, () => text === null ? question("name", name)[1] : parse(text));
    }
    if (request.result) lazy(global, "result", () => global.previous_result);
    if (request.error) lazy(global, "error", () => global.previous_result?.error);
    if (request.results) lazy(global, "results", resultsById);
    if (request.calls) {
      own(global, "variable", function variable(path) { return question("variable", String(path))[1]; });
      own(global, "resource", function resource(path) { return question("resource", String(path))[1]; });
    }
  };

  const described = (error) => {
    let text;
    let stack = "";
    try {
      /* Where there is no room for an error object, the engine throws null. */
      if (error === null) text = "InternalError: out of memory (or null was thrown)";
      else if (error instanceof Error) {
        const message = String(error.message);
        text = message === "" ? String(error.name) : String(error.name) + ": " + message;
        stack = String(error.stack);
      } else if (typeof error === "object") text = stringify(error) ?? String(error);
      else text = String(error);
    } catch {
      text = "something was thrown that has no description";
    }
    if (text.length > TEXT) text = apply(slice, text, [0, TEXT]) + "…";
    return stringify({ __proto__: null, text, stack: apply(slice, stack, [0, TEXT]) });
  };

  /* Compiles the text in both wrappings, so that a text which closes our brackets compiles in neither; the second
   * one is run. The text begins on line 4 of each. */
  const compiled = (check, wrapping) => {
    try {
      new AsyncFunction(check[0] + check[1] + check[2]);
      return { __proto__: null, run: new AsyncFunction(wrapping[0] + wrapping[1] + wrapping[2]) };
    } catch (error) {
      return { __proto__: null, error };
    }
  };

  const encoded = (value, request) => {
    if (request.boolean) return value ? "true" : "false";
    const text = stringify(value) ?? "null";
    if (text.length > request.result_bytes) {
      throw new RangeError("the result is over " + request.result_bytes + " bytes");
    }
    return text;
  };

  const evaluate = async (run, request) => {
    try {
      tell("result", encoded(await run(), request));
    } catch (error) {
      tell("failed", described(error));
    }
  };

  return (json) => {
    const request = parse(json);
    const text = request.expr;
    declare(request);
    const expression = compiled(["return [\n", text, "\n]"], ["return (\n", text, "\n)"]);
    if (expression.run !== undefined) { evaluate(expression.run, request); return; }
    const body = compiled(["{\n", text, "\n}"], ["\n", text, "\n"]);
    if (body.run !== undefined) { evaluate(body.run, request); return; }
    tell("failed", described(expression.error) + "\n" + described(body.error));
  };
})()
