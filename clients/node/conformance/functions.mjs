// The functions of clients/conformance/README.md.
import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "beldi";

const inc = (ctx, table, key) => ctx.update(table, key, "found ? value + 1 : 1");

/** Notes a run of recorded code. */
const ran = (id, token) => appendFile(join(process.env.CONFORMANCE_DIR, id.replaceAll("/", "_")), `${token}\n`);

/** The failure that a promise rejects with. */
async function caught(promise) {
  const value = await promise.catch((error) => error);
  if (value instanceof Failure) return value;
  throw value instanceof Error ? value : new Error("conformance: a failure was expected");
}

/** The reason of the error of a call. */
async function reason(call) {
  try {
    await call();
  } catch (error) {
    // Not of the crash that the test asked for.
    if (error.reason) return error.reason;
    throw error;
  }
  return "none";
}

export async function about({ service, function: name, instance, attempt }) {
  return { service, function: name, instance, attempt };
}

export async function cells(ctx, { id, value }) {
  const before = (await ctx.read("cells", id)) ?? null;
  await ctx.write("cells", id, value);
  const after = await ctx.read("cells", id);
  await ctx.delete("cells", id);
  const deleted = (await ctx.read("cells", id)) ?? null;
  await ctx.write("cells", `${id}/kept`, value);
  return { before, after, deleted };
}

export async function values(ctx, { id, values }) {
  for (const [i, value] of values.entries()) await ctx.write("values", `${id}/${i}`, value);
  const read = [];
  for (const i of values.keys()) read.push(await ctx.read("values", `${id}/${i}`));
  return read;
}

export async function bytes(ctx, { id, size }) {
  await ctx.write(
    "bytes",
    id,
    Uint8Array.from({ length: size }, (_, i) => i),
  );
  return ctx.read("bytes", id);
}

export async function cond(ctx, { id }) {
  await ctx.write("cond", id, { free: 1 });
  return [
    await ctx.condWrite("cond", id, { free: 0 }, "value.free == 1"),
    await ctx.condWrite("cond", id, { free: -1 }, "value.free == 1"),
    await ctx.condWrite("cond", `${id}/new`, { free: 7 }, "!found"),
    await ctx.condWrite("cond", `${id}/new`, { free: 8 }, "new.free > value.free"),
  ];
}

export async function update(ctx, { id }) {
  const a = await inc(ctx, "counters", id);
  return [a, await ctx.update("counters", id, "value + input", 9007199254740992n)];
}

export function add(ctx, { id, by }) {
  return ctx.update("counters", id, "(found ? value : 0) + input", by);
}

export async function list(ctx, { id }) {
  for (let i = 0; i < 5; i++) await ctx.write("lists", `${id}/${i}`, { n: i });
  const prefix = `${id}/`;
  const pages = [];
  let page = { next: "" };
  do {
    page = await ctx.list("lists", { prefix, limit: 2, values: true, after: page.next });
    pages.push(page.entries.map(({ key, value }) => [key, value]));
  } while (page.next);
  const keys = [];
  for await (const { key } of ctx.plain.list("lists", { prefix, limit: 2 })) {
    if (keys.length % 2 === 0) ctx.counted();
    keys.push(key);
  }
  return { pages, keys };
}

export async function invoke(ctx, { id, peer }) {
  const results = [
    await ctx.invoke("add", { id: `${id}/own`, by: 1 }),
    await ctx.invoke(`${ctx.service}/add`, { id: `${id}/own`, by: 2 }),
    await ctx.invoke(`${peer}/add`, { id: `${id}/peer`, by: 5 }),
  ];
  await ctx.write("invoked", id, results);
  return results;
}

export async function start(ctx, { id }) {
  const x = await ctx.start("add", { id: `${id}/x`, by: 1 });
  const y = await ctx.start("add", { id: `${id}/y`, by: 10 });
  const b = await y.result();
  const a = await x.result();
  return [a, b, await ctx.await(x.instance)];
}

export async function record(ctx, { id }) {
  await ctx.write("record", id, "before");
  const value = await ctx.record("pay", async (token) => {
    await ran(id, token);
    return { paid: 7, token };
  });
  return { value, applied: await ctx.condWrite("record", id, value, "value == 'before'") };
}

export async function recordFailure(ctx, { id }) {
  await ctx.write("record", id, "before");
  const charge = ctx.record("charge", async (token) => {
    await ran(id, token);
    throw ctx.failure("card declined", { code: "DECLINED", details: { left: 3 } });
  });
  const { message, code, details } = await caught(charge);
  return { message, code, details, applied: await ctx.condWrite("record", id, code, "value == 'before'") };
}

export function recordRaise(ctx, { id }) {
  return ctx.record("flaky", async (token) => {
    await ran(id, token);
    if (ctx.attempt === 1) throw new Error("conformance: flaky");
    return "done";
  });
}

export async function ambient(ctx, { id }) {
  const now = await ctx.now();
  const value = { now, random: await ctx.random(), uuid: await ctx.uuid(), later: await ctx.now() };
  await ctx.write("ambient", id, value);
  await ctx.read("ambient", id);
  return value;
}

export async function branches(ctx, { id }) {
  await ctx.write("branches", id, "start");
  const results = await ctx.all([
    async (c) => {
      const p = await inc(c, "branches", `${id}/1`);
      const [q, r] = await c.all([
        (d) => inc(d, "branches", `${id}/1/1`),
        async (d) => {
          await d.write("branches", `${id}/1/2`, "x");
          return d.read("branches", `${id}/1/2`);
        },
      ]);
      return [p, q, r, await inc(c, "branches", `${id}/1`)];
    },
    async (c) => {
      await c.write("branches", `${id}/2`, 2);
      return c.read("branches", `${id}/2`);
    },
  ]);
  await ctx.write("branches", id, "end");
  return results;
}

export function fan(ctx, { id, n }) {
  return ctx.all(
    Array.from({ length: n }, (_, i) => async (c) => {
      const ms = ((i * 7 + ctx.attempt * 3) % 8) * 5;
      await sleep(ms);
      await inc(c, "fan", `${id}/${i}`);
      await sleep(ms);
      return c.read("fan", `${id}/${i}`);
    }),
  );
}

export async function fanOut(ctx, { id, n }) {
  const branch = (i) => (c) => c.invoke("add", { id: `${id}/${i}`, by: i });
  const results = await ctx.all(Array.from({ length: n }, (_, i) => branch(i)));
  return results.reduce((sum, each) => sum + each, 0);
}

export async function fail(ctx, { id }) {
  await ctx.write("fail", id, "written");
  throw ctx.failure("sold out", { code: "SOLD_OUT", details: { free: 0, order: 9007199254740993n } });
}

export async function failCaught(ctx, { id }) {
  const { message, code, details } = await caught(ctx.invoke("fail", { id: `${id}/callee` }));
  const started = await ctx.start("fail", { id: `${id}/started` });
  const second = await caught(started.result());
  await ctx.write("fail", id, code);
  return { message, code, details, started: second.code, cell: await ctx.read("fail", id) };
}

export function failUncaught(ctx, { id }) {
  return ctx.invoke("fail", { id: `${id}/callee` });
}

export async function crash(ctx, { id, times }) {
  await inc(ctx, "crash", id);
  const value = await ctx.read("crash", id);
  if (ctx.attempt <= times) throw new Error("conformance: crash");
  return value;
}

export async function limits(ctx, { id }) {
  await ctx.write("limits", id, "x".repeat(262_142));
  return [
    await reason(() => ctx.write("limits", id, "x".repeat(262_143))),
    await reason(() => ctx.write("limits", "k".repeat(1025), 1)),
    await reason(() => ctx.invoke("echo", "x".repeat(1_048_575))),
  ];
}

export async function badExpression(ctx, { id }) {
  await ctx.write("expressions", id, "text");
  return [
    await reason(() => ctx.condWrite("expressions", id, 1, "value +")),
    await reason(() => ctx.update("expressions", id, "value + 1")),
    await ctx.read("expressions", id),
  ];
}

export async function diverge(ctx, { id, how }) {
  const changed = ctx.attempt === 1 ? "" : how;
  if (changed === "operation") await ctx.now();
  else if (changed !== "missing") await ctx.read("diverge", changed === "key" ? `${id}/other` : id);
  await ctx.condWrite("diverge", `${id}/1`, changed === "argument" ? 2 : 1, "true");
  await inc(ctx, "diverge", `${id}/2`);
  if (ctx.attempt === 1) throw new Error("conformance: diverge");
  return 0;
}

const stopped = new Map();

export async function cancelled(ctx, { id }) {
  await inc(ctx, "cancelled", id);
  if (ctx.attempt === 1) {
    await sleep(60_000, undefined, { signal: ctx.signal }).catch(() => {});
    const refused = await ctx.read("cancelled", id).catch((error) => error);
    stopped.set(id, ctx.signal.aborted && refused === ctx.signal.reason);
    ctx.signal.throwIfAborted();
  }
  return { value: await ctx.read("cancelled", id), stopped: stopped.get(id) ?? false };
}
