// A sidecar in memory: a real gRPC server on a Unix socket that speaks the worker stream, for tests of the SDK alone. It
// keeps tables and answers steps; it replays nothing, and knows of CEL only what is in `expressions`.
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http2";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Code, ConnectError } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { Functions } from "../dist/gen/beldi/v1/functions_pb.js";
import { FailureSchema } from "../dist/gen/beldi/v1/types_pb.js";
import { Workers } from "../dist/gen/beldi/v1/worker_pb.js";
import { ErrorInfoSchema } from "../dist/gen/google/rpc/error_details_pb.js";
import { decode, encode } from "../dist/values.js";

const expressions = {
  "found ? value + 1 : 1": ({ found, value }) => (found ? value + 1 : 1),
  "value + input": ({ value, input }) => value + input,
  "!found": ({ found }) => !found,
};

/** An event that tests wait for; never a sleep. */
export function event() {
  const it = {};
  it.happened = new Promise((resolve) => {
    it.set = resolve;
  });
  return it;
}

/** One worker stream. */
class Stream {
  received = [];
  held = [];
  hello = undefined;
  #out = [];
  #wake = () => {};
  draining = event();
  ended = event();

  send(message) {
    this.#out.push(message);
    this.#wake();
  }

  close() {
    this.send(undefined);
  }

  async *outgoing() {
    for (;;) {
      while (this.#out.length > 0) {
        const message = this.#out.shift();
        if (message === undefined) return;
        yield message;
      }
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

export class Sidecar {
  streams = [];
  limits = { key: 1024n, value: 262_144n, input: 1_048_576n, stepName: 256n };
  tables = new Map();
  /** The failure or the result that invoke and await give, by function. */
  callees = new Map();
  /** Whether answers are held back until release(). */
  holding = false;
  /** By operation: the error that answers the next one. */
  refuse = new Map();
  /** The error that ends every worker stream at once. */
  greeting = undefined;
  /** Metadata of the calls. */
  headers = [];
  #ends = new Map();
  #next = 1n;
  #waiting = [];
  #sessions = new Set();

  /** Without an address, in a directory of its own, which goes with it. */
  static async start(address) {
    const sidecar = new Sidecar();
    await sidecar.#listen(address);
    return sidecar;
  }

  async #listen(address) {
    this.address = address ?? `unix://${await mkdtemp(join(tmpdir(), "beldi-"))}/s`;
    this.server = createServer(connectNodeAdapter({ routes: (router) => this.#routes(router) }));
    this.server.on("session", (session) => {
      session.on("error", () => {});
      this.#sessions.add(session);
      session.on("close", () => this.#sessions.delete(session));
    });
    await mkdir(dirname(this.#path), { recursive: true });
    await new Promise((listening) => this.server.listen(this.#path, listening));
  }

  /** Ends at once, as when it is killed. */
  async stop() {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const session of this.#sessions) session.destroy();
    await closed;
    await rm(dirname(this.#path), { recursive: true, force: true });
  }

  get #path() {
    return this.address.slice("unix://".length);
  }

  #routes(router) {
    const sidecar = this;
    router.service(Workers, {
      async *work(messages, context) {
        sidecar.headers.push(context.requestHeader);
        if (sidecar.greeting) throw new ConnectError(sidecar.greeting.message, sidecar.greeting.code);
        const stream = new Stream();
        const reading = sidecar.#read(stream, messages);
        yield { welcome: { version: "test", limits: sidecar.limits } };
        yield* stream.outgoing();
        await reading;
      },
    });
    router.service(Functions, {
      invoke: ({ service, function: name, input, idempotencyKey }, context) => {
        sidecar.headers.push(context.requestHeader);
        return { output: sidecar.#called(`${service}/${name}`, input), instance: idempotencyKey };
      },
      start: ({ service, function: name }) => ({ instance: `i-${service}/${name}` }),
      await: ({ instance }) => ({ output: sidecar.#called(instance.slice(2)), instance }),
    });
  }

  #called(target, input) {
    const callee = this.callees.get(target);
    if (!callee) {
      const info = { desc: ErrorInfoSchema, value: { reason: "NO_SUCH_FUNCTION", metadata: { function: target } } };
      throw new ConnectError(`no function ${target}`, Code.NotFound, undefined, [info]);
    }
    if (!callee.failure) return callee(input);
    const detail = { desc: FailureSchema, value: callee.failure };
    throw new ConnectError(callee.failure.message, Code.FailedPrecondition, undefined, [detail]);
  }

  async #read(stream, messages) {
    try {
      for await (const message of messages) {
        stream.received.push(message);
        if (message.hello?.draining) stream.draining.set();
        else if (message.hello) {
          stream.hello = message.hello;
          this.streams.push(stream);
        }
        for (const wake of this.#waiting.splice(0)) wake();
        const answers = message.steps.flatMap((step) => this.#take(stream, step));
        if (answers.length > 0) stream.send({ answers });
      }
    } catch {
      // The worker broke the stream off.
    }
    stream.ended.set();
    stream.close();
  }

  /** Waits until a message from a worker makes the condition true. */
  async until(condition) {
    while (!condition()) await new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** The nth stream, once it has said hello. */
  async stream(n = 1) {
    await this.until(() => this.streams.length >= n);
    return this.streams[n - 1];
  }

  /** The names of the steps in each message of the newest stream. */
  batches() {
    const messages = this.streams.at(-1).received.filter((message) => message.steps.length > 0);
    return messages.map((message) => message.steps.map((step) => step.name || step.op.case));
  }

  /** Runs a function on the newest stream. */
  async run(name, input, options) {
    return (await this.begin(name, input, options)).end;
  }

  /** Sends an attempt; `end` is its complete, fail or crash. */
  async begin(name, input = null, { number = 1, traceparent = "" } = {}) {
    await this.stream();
    const stream = this.streams.at(-1);
    const attempt = this.#next++;
    const end = new Promise((resolve) => this.#ends.set(attempt, resolve));
    const message = { attempt, instance: `i${attempt}`, function: name, number, traceparent, input: encode(input) };
    stream.send({ attempts: [{ ...message, service: stream.hello.service }] });
    return { attempt, end, cancel: (error) => stream.send({ cancels: [{ attempt, error }] }) };
  }

  /** Answers what is held, in one message on each stream. */
  release() {
    this.holding = false;
    for (const stream of this.streams) stream.send({ answers: stream.held.splice(0) });
  }

  #take(stream, { attempt, name: step, op }) {
    const end = ["complete", "fail", "crash"].includes(op.case);
    if (end) {
      this.#ends.get(attempt)?.({ [op.case]: op.case === "complete" ? decode(op.value.output) : op.value });
      return [];
    }
    const error = this.refuse.get(op.case);
    this.refuse.delete(op.case);
    const result = error ? { case: "error", value: error } : this.#do(op);
    if (!result) return [];
    const answer = { attempt, step, result };
    if (!this.holding) return [answer];
    stream.held.push(answer);
    return [];
  }

  #do({ case: kind, value: request }) {
    const cell = `${request.table}/${request.key}`;
    const stored = this.tables.get(cell);
    const found = stored !== undefined;
    const value = found ? decode(stored) : null;
    const input = request.input && decode(request.input);
    switch (kind) {
      case "read":
        return { case: kind, value: found ? { found, value: stored } : { found } };
      case "write":
        this.tables.set(cell, request.value);
        return;
      case "delete":
        this.tables.delete(cell);
        return;
      case "condWrite": {
        const applied = expressions[request.condition]({ found, value });
        if (applied) this.tables.set(cell, request.value);
        return { case: kind, value: { applied } };
      }
      case "update": {
        const updated = encode(expressions[request.expression]({ found, value, input }));
        this.tables.set(cell, updated);
        return { case: kind, value: { value: updated } };
      }
      case "list":
        return { case: kind, value: this.#list(request) };
      case "invoke":
      case "await": {
        const name = kind === "await" ? request.instance : `${request.target.service}/${request.target.function}`;
        const callee = this.callees.get(name);
        if (callee.failure) return { case: "error", value: { code: 9, reason: "FUNCTION_FAILED", ...callee } };
        return { case: kind, value: { output: callee(request.input) } };
      }
      case "start":
        return { case: kind, value: { instance: `${request.target.service}/${request.target.function}` } };
      case "beginRecord":
        return { case: kind, value: { token: `token-${request.name}`, ...this.callees.get(`record ${request.name}`) } };
      case "endRecord":
        return;
      case "now":
        return { case: kind, value: { time: { seconds: 1_795_269_678n, nanos: 123_456_789 } } };
      case "random":
        return { case: kind, value: { value: 0.25 } };
      case "uuid":
        return { case: kind, value: { uuid: "0197a3c1-0000-7000-8000-000000000000" } };
    }
  }

  #list({ table, prefix, limit, after, values }) {
    const keys = [...this.tables.keys()]
      .filter((cell) => cell.startsWith(`${table}/${prefix}`))
      .map((cell) => cell.slice(table.length + 1))
      .filter((key) => key > after)
      .sort();
    const page = keys.slice(0, limit || 100);
    const entries = page.map((key) => (values ? { key, value: this.tables.get(`${table}/${key}`) } : { key }));
    return { entries, next: page.length < keys.length ? page.at(-1) : "" };
  }
}

/** Serves a service while `test` runs. */
export async function serving(service, test) {
  const stop = new AbortController();
  const served = service.serve(stop.signal);
  try {
    await Promise.race([test(), served.then(() => Promise.reject(new Error("the service ended")))]);
  } finally {
    stop.abort();
    await served;
  }
}
