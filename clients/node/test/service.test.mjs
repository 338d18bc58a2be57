import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, test } from "node:test";
import { context, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import { Cancelled, Service } from "beldi";
import { version } from "../dist/version.js";
import { event, Sidecar, serving } from "./sidecar.mjs";

let sidecar;
beforeEach(async () => {
  sidecar = await Sidecar.start();
});
afterEach(() => sidecar.stop());

const quiet = () => {};
const service = (options) => new Service("flight", { address: sidecar.address, log: quiet, ...options });

test("the version is the package's", async () => {
  const manifest = JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8"));
  assert.equal(version, manifest.version);
});

test("hello says what the service has", async () => {
  const two = service({ concurrency: 4, token: "secret" })
    .function("a", () => {})
    .function("b", () => {});
  await serving(two, async () => {
    await two.ready;
    const { hello } = sidecar.streams[0];
    assert.deepEqual(
      [hello.service, hello.functions, hello.sdk, hello.concurrency, hello.draining],
      ["flight", ["a", "b"], `node/${version}`, 4, false],
    );
    assert.equal(sidecar.headers[0].get("authorization"), "Bearer secret");
  });
});

test("a function has one meaning", () => {
  const one = service().function("f", () => {});
  assert.throws(() => one.function("f", () => {}), /two functions f/);
});

test("a cancelled attempt stops; its steps reject and others go on", async () => {
  const over = event();
  const waiting = event();
  const two = service()
    .function("f", async (ctx) => {
      const reads = ctx.read("t", "k");
      ctx.signal.addEventListener("abort", async () => {
        const errors = [ctx.signal.reason, await reads.catch((error) => error)];
        errors.push(await ctx.read("t", "k").catch((error) => error));
        assert.throws(() => ctx.write("t", "k", 1), Cancelled);
        over.set(errors);
      });
      waiting.set();
      await reads;
    })
    .function("g", () => "fine");
  await serving(two, async () => {
    sidecar.holding = true;
    const begun = await sidecar.begin("f");
    await waiting.happened;
    begun.cancel({ code: 10, reason: "SUPERSEDED", message: "another attempt has taken over" });
    const errors = await over.happened;
    for (const error of errors) {
      assert.ok(error instanceof Cancelled);
      assert.equal(error.reason, "SUPERSEDED");
    }
    assert.deepEqual(await sidecar.run("g"), { complete: "fine" });
  });
  const ends = sidecar.batches().flat();
  assert.ok(!ends.includes("crash") && !ends.includes("fail"));
});

test("it waits for a sidecar that is not there, says so once, and connects again when it comes back", async () => {
  const { address } = sidecar;
  await sidecar.stop();
  const lines = [];
  let said = () => {};
  const log = (line) => {
    lines.push(/trying again|serves/.exec(line)?.[0]);
    said();
  };
  const says = async (expected) => {
    while (lines.length < expected.length) {
      await new Promise((resolve) => {
        said = resolve;
      });
    }
    assert.deepEqual(lines, expected);
  };
  const running = event();
  const over = event();
  const holder = service({ log })
    .function("f", () => "back")
    .function("wait", (ctx) => {
      ctx.signal.addEventListener("abort", () => over.set(ctx.signal.reason));
      running.set();
      return over.happened;
    });
  await serving(holder, async () => {
    await says(["trying again"]);
    sidecar = await Sidecar.start(address);
    assert.deepEqual(await sidecar.run("f"), { complete: "back" });
    await sidecar.begin("wait");
    await running.happened;
    await sidecar.stop();
    assert.ok((await over.happened) instanceof Cancelled);
    await says(["trying again", "serves", "trying again"]);
    sidecar = await Sidecar.start(address);
    assert.deepEqual(await sidecar.run("f"), { complete: "back" });
    await says(["trying again", "serves", "trying again", "serves"]);
  });
});

test("when it stops it asks for no more attempts and lets those under way end", async () => {
  const stop = new AbortController();
  const running = event();
  const go = event();
  const slow = service().function("f", async (ctx) => {
    running.set();
    await go.happened;
    return ctx.read("t", "k");
  });
  const served = slow.serve(stop.signal);
  const begun = await sidecar.begin("f");
  await running.happened;
  stop.abort();
  const stream = await sidecar.stream();
  await stream.draining.happened;
  go.set();
  assert.deepEqual(await begun.end, { complete: null });
  await served;
  await stream.ended.happened;
});

test("when it stops, what takes longer than the grace is cancelled", async () => {
  const stop = new AbortController();
  const running = event();
  const cancelled = event();
  const stuck = service({ graceMs: 1 }).function("f", (ctx) => {
    ctx.signal.addEventListener("abort", cancelled.set);
    running.set();
    return new Promise(() => {});
  });
  const served = stuck.serve(stop.signal);
  await sidecar.begin("f");
  await running.happened;
  stop.abort();
  await served;
  await cancelled.happened;
});

test("what no new try will cure is thrown", async () => {
  sidecar.greeting = { code: 16, message: "who are you?" };
  await assert.rejects(
    service()
      .function("f", () => {})
      .serve(new AbortController().signal),
    { code: "UNAUTHENTICATED", message: /who are you\?/ },
  );
});

test("run ends with 0 on SIGTERM, after the attempts under way", async () => {
  const program = `
    import { Service } from "beldi";
    process.on("message", () => {});
    new Service("flight").function("f", (ctx) => new Promise((resolve) => {
      process.on("SIGTERM", () => resolve(ctx.read("t", "k")));
      process.stdout.write("running\\n");
    })).run();`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    cwd: new URL("..", import.meta.url),
    env: { ...process.env, BELDI_ADDRESS: sidecar.address },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const begun = await sidecar.begin("f");
  await once(child.stdout, "data");
  child.kill("SIGTERM");
  assert.deepEqual(await begun.end, { complete: null });
  assert.deepEqual(await exited, [0, null]);
});

test("a cancelled step that nobody awaits does not end the process", async () => {
  const program = `
    import { Service } from "beldi";
    new Service("flight").function("f", (ctx) => {
      ctx.read("t", "k");
      process.stdout.write("reading\\n");
      return new Promise(() => {});
    }).function("g", () => "alive").run();`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    cwd: new URL("..", import.meta.url),
    env: { ...process.env, BELDI_ADDRESS: sidecar.address },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  sidecar.holding = true;
  const begun = await sidecar.begin("f");
  await once(child.stdout, "data");
  begun.cancel({ code: 10, reason: "CANCELLED", message: "of no use any more" });
  assert.deepEqual(await sidecar.run("g"), { complete: "alive" });
  child.kill("SIGTERM");
  assert.deepEqual(await exited, [0, null]);
});

test("a rejection that is not a cancelled step's is as fatal as in any program", async () => {
  const program = `
    import { Service } from "beldi";
    new Service("flight").function("f", () => { Promise.reject(new Error("forgotten")); return new Promise(() => {}); }).run();`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    cwd: new URL("..", import.meta.url),
    env: { ...process.env, BELDI_ADDRESS: sidecar.address },
    stdio: ["ignore", "inherit", "pipe"],
  });
  let stderr = "";
  child.stderr.on("data", (data) => {
    stderr += data;
  });
  const closed = once(child, "close");
  await sidecar.begin("f");
  const [code] = await closed;
  assert.notEqual(code, 0);
  assert.match(stderr, /forgotten/);
});

test("with OpenTelemetry the function runs in its attempt's trace", async () => {
  const storage = new AsyncLocalStorage();
  context.setGlobalContextManager({
    active: () => storage.getStore() ?? ROOT_CONTEXT,
    with: (active, run, that, ...args) => storage.run(active, () => run.call(that, ...args)),
    bind: (_active, target) => target,
    enable: () => {},
    disable: () => {},
  });
  const traced = service().function("f", async (ctx) => {
    await ctx.read("t", "k");
    return trace.getSpanContext(context.active());
  });
  try {
    await serving(traced, async () => {
      const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
      assert.deepEqual((await sidecar.run("f", null, { traceparent })).complete, {
        traceId: "0af7651916cd43dd8448eb211c80319c",
        spanId: "b7ad6b7169203331",
        traceFlags: 1,
        isRemote: true,
      });
      assert.deepEqual(await sidecar.run("f", null, { traceparent: "" }), { complete: null });
    });
  } finally {
    context.disable();
  }
});
