import assert from "node:assert/strict";
import { test } from "node:test";
import { parse, stringify } from "../dist/json.js";
import { decode, encode } from "../dist/values.js";

test("integers survive, as numbers where these are exact", () => {
  for (const [text, value] of [
    ["9007199254740991", 9007199254740991],
    ["9007199254740993", 9007199254740993n],
    ["-9007199254740993", -9007199254740993n],
    ['{"a":[123456789012345678901234567890,{"b":1}]}', { a: [123456789012345678901234567890n, { b: 1 }] }],
    ['["9007199254740993","\\"9007199254740993\\\\"]', ["9007199254740993", '"9007199254740993\\']],
    ['{"id9007199254740993":12345678901234567}', { id9007199254740993: 12345678901234567n }],
  ]) {
    assert.deepEqual(parse(text), value);
    assert.equal(stringify(value), text);
  }
});

test("fractions and exponents are numbers", () => {
  assert.deepEqual(
    parse("[0.1234567890123456789, 1e21, 12345678901234567.5]"),
    [0.12345678901234568, 1e21, 12345678901234568],
  );
});

test("a number that no double can hold is refused", () => {
  assert.throws(() => parse("[1, 1e400]"), RangeError);
});

test("text that is no JSON is refused on the slow path, too", () => {
  assert.throws(() => parse("[12345678901234567,]"), SyntaxError);
  assert.throws(() => parse("012345678901234567"), SyntaxError);
});

test("a member named __proto__ is a member", () => {
  const value = parse('{"__proto__": 12345678901234567}');
  assert.equal(Object.getPrototypeOf(value), Object.prototype);
  assert.equal(stringify(value), '{"__proto__":12345678901234567}');
});

test("a bigint is an integer whatever the program taught BigInt", () => {
  BigInt.prototype.toJSON = function () {
    return this.toString();
  };
  try {
    assert.equal(stringify({ n: 12345678901234567n }), '{"n":12345678901234567}');
  } finally {
    delete BigInt.prototype.toJSON;
  }
});

test("what JSON would change silently is refused", () => {
  const cycle = {};
  cycle.self = cycle;
  for (const value of [
    undefined,
    () => 1,
    Number.NaN,
    { price: Infinity },
    [new Uint8Array(1)],
    { b: Buffer.from("b") },
    cycle,
  ]) {
    assert.throws(() => stringify(value), TypeError);
  }
});

test("bytes are bytes, and a copy", () => {
  const bytes = Buffer.from([0, 255]);
  const payload = encode(bytes);
  bytes[0] = 7;
  assert.equal(payload.contentType, "application/octet-stream");
  assert.deepEqual(decode(payload), new Uint8Array([0, 255]));
});

test("payloads without type or content", () => {
  assert.equal(decode(undefined), null);
  assert.equal(decode({ data: new Uint8Array(), contentType: "" }), null);
  assert.deepEqual(decode({ data: Buffer.from("[1]"), contentType: "application/json; charset=utf-8" }), [1]);
  assert.deepEqual(decode({ data: new Uint8Array([1]), contentType: "image/png" }), new Uint8Array([1]));
});
