import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Failure, FunctionFailed, Service } from "beldi";
import { decode, encode } from "../dist/values.js";
import { Sidecar, serving } from "./sidecar.mjs";

let sidecar;
beforeEach(async () => {
  sidecar = await Sidecar.start();
});
afterEach(() => sidecar.stop());

const quiet = () => {};

/** Runs one function with a context and returns how it ended. */
async function run(handler, input, options) {
  const service = new Service("flight", { address: sidecar.address, log: quiet }).function("f", handler);
  let end;
  await serving(service, async () => {
    end = await sidecar.run("f", input, options);
  });
  return end;
}

test("the context says where it is", async () => {
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const end = await run(
    (ctx, input) => [ctx.service, ctx.function, ctx.instance, ctx.attempt, ctx.traceparent, ctx.signal.aborted, input],
    { a: 1 },
    { number: 3, traceparent },
  );
  assert.deepEqual(end.complete, ["flight", "f", "i1", 3, traceparent, false, { a: 1 }]);
});

test("reads see writes, absent is undefined, null is a value", async () => {
  const end = await run(async (ctx) => {
    const before = await ctx.read("t", "k");
    ctx.write("t", "k", { n: 9007199254740993n });
    await ctx.write("t", "null", null);
    const after = await ctx.read("t", "k");
    ctx.delete("t", "k");
    return [before === undefined, after, (await ctx.read("t", "k")) === undefined, await ctx.read("t", "null")];
  });
  assert.deepEqual(end.complete, [true, { n: 9007199254740993n }, true, null]);
});

test("conditional writes and updates", async () => {
  const end = await run(async (ctx) => [
    await ctx.condWrite("t", "k", 1, "!found"),
    await ctx.condWrite("t", "k", 2, "!found"),
    await ctx.update("t", "k", "found ? value + 1 : 1"),
    await ctx.update("t", "k", "value + input", 40),
  ]);
  assert.deepEqual(end.complete, [true, false, 2, 42]);
});

test("an undefined result is null", async () => {
  assert.deepEqual(await run(() => undefined), { complete: null });
});

test("steps are named at the call, and those of one turn share a message", async () => {
  const end = await run(async (ctx) => {
    ctx.write("t", "a", 1);
    ctx.write("t", "b", 2);
    const both = await Promise.all([ctx.read("t", "a"), ctx.read("t", "b")]);
    ctx.write("t", "c", 3);
    return both;
  });
  assert.deepEqual(end.complete, [1, 2]);
  assert.deepEqual(sidecar.batches(), [
    ["1", "2", "3", "4"],
    ["5", "complete"],
  ]);
});

test("the next steps of functions that one message woke share a message", async () => {
  sidecar.holding = true;
  const service = new Service("flight", { address: sidecar.address }).function("f", async (ctx) => {
    await ctx.read("t", "k");
    // Another number of turns of the microtask queue for each attempt.
    for (let i = 0; i < Number(ctx.instance.slice(1)); i++) await undefined;
    await ctx.read("t", "k");
  });
  await serving(service, async () => {
    const begun = [await sidecar.begin("f"), await sidecar.begin("f"), await sidecar.begin("f")];
    await sidecar.until(() => sidecar.batches().flat().length === 3);
    sidecar.release();
    await Promise.all(begun.map(({ end }) => end));
  });
  const [second] = sidecar.batches().filter((steps) => steps.includes("2"));
  assert.deepEqual(second, ["2", "2", "2"]);
});

test("what does not fit into one message is split", async () => {
  const value = "x".repeat(200_000);
  await run((ctx) => {
    for (let i = 0; i < 20; i++) ctx.write("t", `${i}`, value);
  });
  assert.deepEqual(sidecar.batches().flat(), [...Array(20).keys()].map((i) => `${i + 1}`).concat("complete"));
  assert.ok(sidecar.batches().every((steps) => steps.length <= 6));
});

test("branches name their steps by where they are, whoever comes first", async () => {
  const inc = "found ? value + 1 : 1";
  const end = await run(async (ctx) => {
    ctx.write("t", "start", 1);
    const results = await ctx.all([
      async (c) => {
        const first = await c.update("t", "1", inc);
        const inner = await c.all([(d) => d.update("t", "1/1", inc), (d) => d.update("t", "1/2", inc)]);
        return [first, inner, await c.update("t", "1", inc)];
      },
      async (c) => {
        c.write("t", "2", 2);
        return c.read("t", "2");
      },
      () => "no step",
    ]);
    ctx.write("t", "end", 1);
    return results;
  });
  assert.deepEqual(end.complete, [[1, [1, 1], 2], 2, "no step"]);
  const names = sidecar.batches().flat().sort();
  assert.deepEqual(names, ["1", "2/1.1", "2/1.2/1.1", "2/1.2/2.1", "2/1.3", "2/2.1", "2/2.2", "3", "complete"]);
});

test("all waits for every branch and throws the first one's error", async () => {
  const ended = [];
  const end = await run(async (ctx) => {
    const end = async (c, message) => {
      await c.read("t", "k");
      if (message === "first") await c.read("t", "k");
      ended.push(message);
      throw ctx.failure(message);
    };
    await ctx.all([(c) => end(c, "first"), (c) => end(c, "second")]);
  });
  assert.deepEqual(ended, ["second", "first"]);
  assert.equal(end.fail.failure.message, "first");
});

test("pages and the iterator over them", async () => {
  for (const key of ["a/1", "a/2", "a/3", "b/1"]) sidecar.tables.set(`t/${key}`, encode({ key }));
  const end = await run(async (ctx) => {
    const page = await ctx.list("t", { prefix: "a/", limit: 2, values: true });
    const keys = [];
    for await (const { key } of ctx.list("t", { prefix: "a/", limit: 2 })) keys.push(key);
    return { page, keys };
  });
  assert.deepEqual(end.complete, {
    page: {
      entries: [
        { key: "a/1", value: { key: "a/1" } },
        { key: "a/2", value: { key: "a/2" } },
      ],
      next: "a/2",
    },
    keys: ["a/1", "a/2", "a/3"],
  });
  assert.deepEqual(sidecar.batches().flat(), ["1", "2", "3", "complete"]);
});

test("invoke, start and await", async () => {
  sidecar.callees.set("/own", (input) => input);
  sidecar.callees.set("hotel/book", () => encode({ booked: 2 }));
  const end = await run(async (ctx) => {
    const started = await ctx.start("hotel/book", 2);
    return [await ctx.invoke("own", 1), await ctx.invoke("own"), await started.result(), started.instance];
  });
  assert.deepEqual(end.complete, [1, null, { booked: 2 }, "hotel/book"]);
});

test("a callee's failure can be caught", async () => {
  const details = { data: encode({ left: 3 }).data };
  sidecar.callees.set("hotel/book", { failure: { message: "full", code: "FULL", details } });
  const end = await run(async (ctx) => {
    try {
      await ctx.invoke("hotel/book");
    } catch (error) {
      return [error instanceof FunctionFailed, error.message, error.code, error.details];
    }
  });
  assert.deepEqual(end.complete, [true, "full", "FULL", { left: 3 }]);
});

test("a callee's failure that nobody catches is the function's own", async () => {
  sidecar.callees.set("hotel/book", { failure: { message: "full", code: "FULL" } });
  const { fail } = await run((ctx) => ctx.invoke("hotel/book"));
  assert.equal(fail.failure.message, "full");
  assert.equal(fail.failure.code, "FULL");
});

test("a failure carries code and details", async () => {
  const { fail } = await run((ctx) => {
    throw ctx.failure("sold out", { code: "SOLD_OUT", details: { order: 9007199254740993n } });
  });
  assert.deepEqual(
    [fail.failure.message, fail.failure.code, decode(fail.failure.details)],
    ["sold out", "SOLD_OUT", { order: 9007199254740993n }],
  );
});

test("any other error is a crash", async () => {
  const { crash } = await run(() => {
    throw new TypeError("of mine");
  });
  assert.equal(crash.message, "TypeError: of mine");
  assert.match(crash.trace, /context\.test\.mjs/);
});

test("a result that JSON cannot say is a crash", async () => {
  assert.match((await run(() => Number.NaN)).crash.message, /NaN/);
});

test("record runs code once, and gives what a replay would give", async () => {
  const end = await run(async (ctx) => {
    const first = await ctx.record("pay", (token) => ({ token, at: new Date(0), none: undefined }));
    const nothing = await ctx.record("tell", async () => {});
    return { first, nothing };
  });
  assert.deepEqual(end.complete, { first: { token: "token-pay", at: "1970-01-01T00:00:00.000Z" }, nothing: null });
  assert.deepEqual(sidecar.batches(), [["1"], ["1", "2"], ["2", "complete"]]);
});

test("record does not run what is recorded", async () => {
  sidecar.callees.set("record pay", { recorded: true, value: encode("earlier") });
  sidecar.callees.set("record charge", { recorded: true, failure: { message: "declined", code: "DECLINED" } });
  const end = await run(async (ctx) => {
    const never = () => assert.fail("it ran");
    const paid = await ctx.record("pay", never);
    const declined = await ctx.record("charge", never).catch((error) => error);
    return [paid, declined instanceof Failure, declined.code];
  });
  assert.deepEqual(end.complete, ["earlier", true, "DECLINED"]);
});

test("record keeps failures, not crashes", async () => {
  await run(async (ctx) => {
    await ctx.record("charge", () => Promise.reject(ctx.failure("declined"))).catch(() => {});
    await ctx.record("charge", () => Promise.reject(new Error("line down")));
  });
  const steps = sidecar.streams[0].received.flatMap(({ steps }) => steps);
  const kinds = steps.map(({ name, op }) => `${name} ${op.case}`);
  assert.deepEqual(kinds, ["1 beginRecord", "1 endRecord", "2 beginRecord", " crash"]);
  assert.equal(steps[1].op.value.failure.message, "declined");
});

test("clock, random numbers and ids", async () => {
  const end = await run(async (ctx) => [await ctx.now(), await ctx.random(), await ctx.uuid()]);
  assert.deepEqual(end.complete, ["2026-11-21T14:01:18.123Z", 0.25, "0197a3c1-0000-7000-8000-000000000000"]);
});

test("what is over a limit is refused at the call, sends nothing and takes no step", async () => {
  const end = await run(async (ctx) => {
    assert.throws(() => ctx.write("t", "k", "x".repeat(262_143)), { reason: "TOO_LARGE", code: "INVALID_ARGUMENT" });
    assert.throws(() => ctx.delete("t", "ü".repeat(513)), { reason: "TOO_LARGE" });
    await assert.rejects(ctx.read("t", "k".repeat(1025)), { reason: "TOO_LARGE" });
    await assert.rejects(ctx.invoke("f", "x".repeat(1_048_575)), { reason: "TOO_LARGE" });
    ctx.write("t", "ü".repeat(512), "x".repeat(262_142));
  });
  assert.deepEqual(end, { complete: null });
  assert.deepEqual(sidecar.batches(), [["1", "complete"]]);
});

test("a key that UTF-8 cannot say is refused", async () => {
  const end = await run((ctx) => assert.throws(() => ctx.write("t", "\ud800", 1), { reason: "MALFORMED" }));
  assert.deepEqual(end, { complete: null });
});

test("a step that the sidecar refuses rejects, and the function goes on", async () => {
  sidecar.refuse.set("read", { code: 14, reason: "STORE_UNREACHABLE", message: "no store", metadata: { store: "s" } });
  const end = await run(async (ctx) => {
    const { code, reason, message, metadata } = await ctx.read("t", "k").catch((error) => error);
    return [code, reason, message, metadata];
  });
  assert.deepEqual(end.complete, ["UNAVAILABLE", "STORE_UNREACHABLE", "STORE_UNREACHABLE: no store", { store: "s" }]);
});

test("after a refused write the next step throws its error, and the attempt crashes", async () => {
  sidecar.refuse.set("write", { code: 7, reason: "FOREIGN_TABLE", message: "not yours" });
  const end = await run(async (ctx) => {
    ctx.write("t", "k", 1);
    await ctx.read("t", "k");
    await assert.rejects(ctx.read("t", "k"), { reason: "FOREIGN_TABLE" });
    return "as if nothing had happened";
  });
  assert.match(end.crash.message, /FOREIGN_TABLE: not yours/);
});
