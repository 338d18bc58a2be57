/** One worker stream: all attempts of one service share it, and the steps of one turn of the event loop share a message. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import type { Connection } from "./address.js";
import { Attempt, type Link, type StepInit } from "./attempt.js";
import { Cancelled, fromCancel } from "./errors.js";
import {
  type Attempt as AttemptMessage,
  type FromWorkerSchema,
  type Limits,
  type ToWorker,
  Workers,
} from "./gen/beldi/v1/worker_pb.js";
import { version } from "./version.js";

type FromWorkerInit = MessageInitShape<typeof FromWorkerSchema>;

/** What a stream serves. */
export interface Work {
  readonly service: string;
  readonly functions: readonly string[];
  readonly concurrency: number;
  run(attempt: Attempt): Promise<void>;
  welcomed(): void;
  log(message: string, error?: unknown): void;
}

// gRPC servers refuse messages over 4 MiB by default; a step adds at most an input of 1 MiB to what is here.
const messageLimit = 1 << 20;

// How long the sidecar may take to end the stream after this side has.
const farewellMs = 1000;

export class Stream implements Link {
  readonly #connection: Connection;
  readonly #work: Work;
  readonly #outgoing = new Outgoing();
  readonly #attempts = new Map<bigint, Attempt>();
  #limits: Limits | undefined;
  #steps: StepInit[] = [];
  #size = 0;
  #flush: NodeJS.Immediate | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #draining = false;

  constructor(connection: Connection, work: Work) {
    this.#connection = connection;
    this.#work = work;
  }

  /**
   * Returns when the stream has ended, and throws when it broke. When `stop` aborts, it asks for no new attempts, gives
   * those under way `graceMs`, and ends the stream.
   */
  async run(stop: AbortSignal, graceMs: number): Promise<void> {
    const drain = () => this.#drain(graceMs);
    stop.addEventListener("abort", drain);
    this.#hello();
    try {
      for await (const message of createClient(Workers, this.#connection.transport).work(this.#outgoing)) {
        this.#receive(message);
      }
    } catch (error) {
      if (!this.#draining) throw error;
    } finally {
      stop.removeEventListener("abort", drain);
      clearTimeout(this.#deadline);
      clearImmediate(this.#flush);
      this.#outgoing.end();
      const lost = new Cancelled("ABORTED", "CANCELLED", "the stream to the sidecar has ended");
      for (const attempt of this.#attempts.values()) attempt.cancel(lost);
    }
  }

  get limits(): Limits {
    if (!this.#limits) throw new Error("beldi: the sidecar sent an attempt before its welcome");
    return this.#limits;
  }

  put(step: StepInit): void {
    this.#steps.push(step);
    this.#size += size(step);
    if (this.#size >= messageLimit) this.#send();
    // Not a microtask: several answers in one message wake several functions, and a microtask would leave before the
    // last of them has come to its next step.
    else this.#flush ??= setImmediate(() => this.#send());
  }

  ended(attempt: Attempt): void {
    this.#attempts.delete(attempt.message.attempt);
    // Later, because the attempt's last step is put after this.
    if (this.#draining) setImmediate(() => this.#endIfIdle());
  }

  log(message: string, error?: unknown): void {
    this.#work.log(message, error);
  }

  #receive({ welcome, attempts, answers, cancels }: ToWorker): void {
    if (welcome?.limits && !this.#limits) {
      this.#limits = welcome.limits;
      this.#work.welcomed();
    }
    for (const message of attempts) this.#begin(message);
    // Answers and cancels of an attempt that has ended here meanwhile have nobody to go to.
    for (const answer of answers) this.#attempts.get(answer.attempt)?.answered(answer);
    for (const { attempt, error } of cancels) this.#attempts.get(attempt)?.cancel(fromCancel(error));
  }

  #begin(message: AttemptMessage): void {
    const attempt = new Attempt(message, this);
    this.#attempts.set(message.attempt, attempt);
    void this.#work.run(attempt);
  }

  #hello(): void {
    const { service, functions, concurrency } = this.#work;
    const hello = { service, functions: [...functions], concurrency, sdk: `node/${version}`, draining: this.#draining };
    this.#outgoing.push({ hello });
  }

  #send(): void {
    clearImmediate(this.#flush);
    this.#flush = undefined;
    this.#size = 0;
    if (this.#steps.length > 0) this.#outgoing.push({ steps: this.#steps });
    this.#steps = [];
  }

  #drain(graceMs: number): void {
    this.#draining = true;
    this.#hello();
    this.#deadline = setTimeout(() => this.#connection.close(), graceMs);
    this.#endIfIdle();
  }

  #endIfIdle(): void {
    if (this.#attempts.size > 0) return;
    this.#send();
    this.#outgoing.end();
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#connection.close(), farewellMs);
  }
}

/** The messages to the sidecar, as the stream's input wants them. */
class Outgoing implements AsyncIterable<FromWorkerInit> {
  #messages: FromWorkerInit[] = [];
  #ended = false;
  #wake = () => {};

  push(message: FromWorkerInit): void {
    this.#messages.push(message);
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<FromWorkerInit> {
    for (;;) {
      const messages = this.#messages;
      this.#messages = [];
      yield* messages;
      if (this.#messages.length > 0) continue;
      if (this.#ended) return;
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
    }
  }
}

/** About as many bytes as the step takes on the wire. */
function size({ op }: StepInit): number {
  let bytes = 64;
  for (const field of Object.values(op?.value ?? {})) {
    if (typeof field === "string") bytes += field.length;
    else if (field?.data instanceof Uint8Array) bytes += field.data.length;
  }
  return bytes;
}
