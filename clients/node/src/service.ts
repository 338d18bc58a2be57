/** A service: its functions, and the loop that keeps a stream to the sidecar. */
import { setTimeout as sleep } from "node:timers/promises";
import { type ConnectionOptions, open } from "./address.js";
import type { Attempt } from "./attempt.js";
import { Context } from "./context.js";
import { Cancelled, fromCall, type StatusName } from "./errors.js";
import { Stream, type Work } from "./stream.js";
import { type InTrace, loadTracing } from "./tracing.js";

export type Handler<Input, Output> = (ctx: Context, input: Input) => Output | Promise<Output>;

export interface ServiceOptions extends ConnectionOptions {
  /** How many attempts it takes at once. Default 0: no limit. */
  concurrency?: number;
  /** How long attempts under way may take to end when the service stops, in milliseconds. Default 10 000. */
  graceMs?: number;
  /** Where its few lines go. Default: console.error. */
  log?: (message: string, error?: unknown) => void;
}

const firstBackoffMs = 50;
const lastBackoffMs = 1000;

// What no new try will cure.
const hopeless: readonly StatusName[] = ["INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"];

export class Service {
  readonly name: string;
  readonly #options: ServiceOptions;
  readonly #handlers = new Map<string, Handler<unknown, unknown>>();
  #setReady = () => {};

  /** Resolves once the sidecar knows the service's functions for the first time, so that they can be invoked. */
  readonly ready = new Promise<void>((resolve) => {
    this.#setReady = resolve;
  });

  constructor(name: string, options: ServiceOptions = {}) {
    this.name = name;
    this.#options = options;
  }

  /** Adds a function. Its result is a JSON value or bytes; undefined becomes null. */
  function<Input = unknown, Output = unknown>(name: string, handler: Handler<Input, Output>): this {
    if (this.#handlers.has(name)) throw new Error(`beldi: service ${this.name} has two functions ${name}`);
    this.#handlers.set(name, handler as Handler<unknown, unknown>);
    return this;
  }

  /** Serves until SIGTERM or SIGINT, lets the attempts under way end, and exits with 0. For programs that do nothing else. */
  async run(): Promise<never> {
    const stop = new AbortController();
    // Once, so that a second signal kills.
    process.once("SIGTERM", () => stop.abort());
    process.once("SIGINT", () => stop.abort());
    running++;
    await this.serve(stop.signal);
    running--;
    // The last of the services that this process runs ends it.
    if (running === 0) process.exit(0);
    return new Promise(() => {});
  }

  /**
   * Serves until the signal aborts and the attempts under way have ended. It connects again whenever the sidecar is
   * gone, and throws only what no new try will cure, such as a wrong token.
   */
  async serve(signal: AbortSignal): Promise<void> {
    const inTrace = await loadTracing();
    const log = this.#options.log ?? console.error;
    const forgive = forgiveCancelled();
    let backoff = firstBackoffMs;
    let lost = false;
    try {
      while (!signal.aborted) {
        const connection = open(this.#options);
        const welcomed = () => {
          log(`beldi: ${this.name} serves ${[...this.#handlers.keys()].join(", ")} at ${connection.address}`);
          backoff = firstBackoffMs;
          lost = false;
          this.#setReady();
        };
        try {
          await new Stream(connection, this.#work(inTrace, welcomed, log)).run(signal, this.#options.graceMs ?? 10_000);
        } catch (error) {
          const cause = fromCall(error, `beldi: no stream of ${this.name} to the sidecar at ${connection.address}`);
          if (hopeless.some((code) => code === cause.code)) throw cause;
          if (!lost) log(`${cause.message}; trying again`);
          lost = true;
        } finally {
          connection.close();
        }
        await pause(backoff, signal);
        backoff = Math.min(2 * backoff, lastBackoffMs);
      }
    } finally {
      forgive.end();
    }
  }

  #work(inTrace: InTrace, welcomed: Work["welcomed"], log: Work["log"]): Work {
    return {
      service: this.name,
      functions: [...this.#handlers.keys()],
      concurrency: this.#options.concurrency ?? 0,
      run: (attempt) => inTrace(attempt.message.traceparent, () => this.#run(attempt)),
      welcomed,
      log,
    };
  }

  #run(attempt: Attempt): Promise<void> {
    return attempt.run((input) => {
      const handler = this.#handlers.get(attempt.message.function);
      if (!handler) throw new Error(`beldi: service ${this.name} has no function ${attempt.message.function}`);
      return handler(new Context(attempt), input);
    });
  }
}

let running = 0;

// Jitter, so that the workers of a machine do not come all at once.
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {});
}

let forgiving = 0;

/**
 * A cancelled attempt rejects every step that it waits for, also those whose promises the function has not come to await.
 * Node would end the process for these, and with it all other attempts.
 */
function forgiveCancelled(): { end(): void } {
  if (forgiving++ === 0) process.on("unhandledRejection", unhandled);
  return {
    end() {
      if (--forgiving === 0) process.off("unhandledRejection", unhandled);
    },
  };
}

function unhandled(reason: unknown): void {
  // Anything else stays what it is without this listener: fatal, unless the program listens, too.
  if (!(reason instanceof Cancelled) && process.listenerCount("unhandledRejection") === 1) throw reason;
}
