/**
 * JSON that keeps integers exact: an integer which no number can hold is a bigint, both ways.
 *
 * Both directions leave the work to JSON.parse and JSON.stringify, and carry bigints past them as strings that begin
 * with a mark. The mark is random for each process and never leaves it, so that no input can contain it.
 */
import { randomUUID } from "node:crypto";

const mark = `${randomUUID()}:`;
const markedInText = new RegExp(`"${mark}(-?\\d+)"`, "g");

// Sixteen digits in a row, but for those after a point, may be an integer beyond 2^53; an exponent of three digits may
// be beyond a double.
const suspicious = /(?<![.\d])\d{16}|\d[eE]\+?\d{3}/;
const token = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const integer = /^-?\d+$/;

/** Parses JSON. Integers that are not safe as numbers come as bigint. Throws SyntaxError or RangeError. */
export function parse(text: string): unknown {
  if (!suspicious.test(text)) return JSON.parse(text);
  JSON.parse(text); // The tokens below are only those of a text that is JSON.
  const marked = text.replace(token, (part) => (part.startsWith('"') ? part : exact(part)));
  return JSON.parse(marked, (_key, value) =>
    typeof value === "string" && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value,
  );
}

function exact(number: string): string {
  const value = Number(number);
  if (integer.test(number)) return Number.isSafeInteger(value) ? number : `"${mark}${number}"`;
  if (!Number.isFinite(value)) throw new RangeError(`the JSON number ${number} is beyond what a number can hold`);
  return number;
}

/**
 * The value as JSON, as JSON.stringify gives it, but that a bigint is an integer, and that what JSON.stringify would
 * change silently (NaN, infinities, bytes inside of other values) is a TypeError.
 */
export function stringify(value: unknown): string {
  let marked = false;
  function replace(this: unknown, key: string, replaced: unknown): unknown {
    // Not `replaced`: a toJSON has already been at it, and Buffer has one.
    const original = (this as Record<string, unknown>)[key];
    switch (typeof original) {
      case "bigint":
        marked = true;
        return mark + original;
      case "number":
        if (!Number.isFinite(original)) throw new TypeError(`JSON cannot say ${original}${at(key)}`);
        return original;
      case "object":
        if (original instanceof Uint8Array) throw new TypeError(`bytes must stand alone, not inside of JSON${at(key)}`);
    }
    return replaced;
  }
  const text: string | undefined = JSON.stringify(value, replace);
  if (text === undefined) throw new TypeError(`JSON cannot say ${typeof value}`);
  return marked ? text.replace(markedInText, "$1") : text;
}

function at(key: string): string {
  return key === "" ? "" : ` (at "${key}")`;
}
