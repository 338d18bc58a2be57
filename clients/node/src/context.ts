/** What a function works with: the operations of one attempt, or of one branch of it. */
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { Attempt } from "./attempt.js";
import { BeldiError, Failure, type FailureOptions, fromFailure, toFailure } from "./errors.js";
import { decode } from "./values.js";

export interface Entry<T> {
  key: string;
  /** Set if values were asked for. */
  value?: T;
}

export interface Page<T> {
  entries: Entry<T>[];
  /** For `after` of the next page; empty after the last one. */
  next: string;
}

/** One page when awaited; all entries from there on in `for await`, which takes one step for each page. */
export type Listing<T> = Promise<Page<T>> & AsyncIterable<Entry<T>>;

export interface ListOptions {
  /** Only keys that begin with it. */
  prefix?: string;
  /** Entries in a page. Default 100, at most 1000. */
  limit?: number;
  /** `next` of the page before. */
  after?: string;
  /** Values, too, not only keys. */
  values?: boolean;
}

/** A function that was started. */
export interface Handle<T> {
  readonly instance: string;
  /** Waits for its result. In a context, a step of the branch that started it. */
  result(): Promise<T>;
}

type Branch = (ctx: Context) => unknown;

/**
 * Every operation takes the next step name (1, 2, 3…) at the moment it is called, so that
 * `Promise.all([ctx.read(…), ctx.read(…)])` names its steps alike in every attempt. Asynchronous code of several steps
 * that runs at the same time needs a context for each branch: see `all`.
 *
 * Keys and values over the sidecar's limits are a BeldiError with reason TOO_LARGE. Refused calls take no step.
 */
export class Context {
  readonly #attempt: Attempt;
  readonly #prefix: string;
  #last = 0;

  /** @internal */
  constructor(attempt: Attempt, prefix = "") {
    this.#attempt = attempt;
    this.#prefix = prefix;
  }

  /** The id of the instance, the same in all its attempts. */
  get instance(): string {
    return this.#attempt.message.instance;
  }

  get service(): string {
    return this.#attempt.message.service;
  }

  get function(): string {
    return this.#attempt.message.function;
  }

  /** The number of this attempt, from 1. */
  get attempt(): number {
    return this.#attempt.message.number;
  }

  /** W3C trace context of the attempt's span; may be empty. */
  get traceparent(): string {
    return this.#attempt.message.traceparent;
  }

  /** Aborted, with a Cancelled as reason, when the attempt is over before the function has returned. */
  get signal(): AbortSignal {
    return this.#attempt.signal;
  }

  /** The value of a key, or undefined if there is none. */
  async read<T = unknown>(table: string, key: string): Promise<T | undefined> {
    const request = { table, key: this.#attempt.key(key) };
    const { found, value } = await this.#attempt.ask(this.#step(), "read", request);
    return found ? (decode(value) as T) : undefined;
  }

  /** Sets a value, exactly once, before any later step observes. There is no answer to wait for; awaiting is harmless. */
  write(table: string, key: string, value: unknown): Promise<void> {
    const request = { table, key: this.#attempt.key(key), value: this.#attempt.value(value) };
    this.#attempt.tell(this.#step(), "write", request);
    return Promise.resolve();
  }

  /** Like write. */
  delete(table: string, key: string): Promise<void> {
    const request = { table, key: this.#attempt.key(key) };
    this.#attempt.tell(this.#step(), "delete", request);
    return Promise.resolve();
  }

  /**
   * Sets a value if the condition holds, and says whether it did. The condition is a CEL expression over `value` (what
   * is stored; null if absent), `found` and `new` (the value to be written).
   */
  async condWrite(table: string, key: string, value: unknown, condition: string): Promise<boolean> {
    const request = { table, key: this.#attempt.key(key), value: this.#attempt.value(value), condition };
    const { applied } = await this.#attempt.ask(this.#step(), "condWrite", request);
    return applied;
  }

  /**
   * Sets the value of a CEL expression over `value` (null if absent), `found` and `input`, and returns it. If it is over
   * 1 KiB, it is set but does not come back: undefined.
   */
  async update<T = unknown>(table: string, key: string, expression: string, input?: unknown): Promise<T> {
    const request = { table, key: this.#attempt.key(key), expression };
    const { value, tooLarge } = await this.#attempt.ask(this.#step(), "update", {
      ...request,
      ...(input !== undefined && { input: this.#attempt.value(input) }),
    });
    return (tooLarge ? undefined : decode(value)) as T;
  }

  /** Lists keys in byte order. Pages are observed one after another: no snapshot. */
  list<T = unknown>(table: string, options: ListOptions = {}): Listing<T> {
    const first = this.#page<T>(table, options);
    return Object.assign(first, { [Symbol.asyncIterator]: () => this.#entries(first, table, options) });
  }

  /** Runs another function exactly once and waits for its result. The target is "service/function", or "function" of the own service. */
  async invoke<T = unknown>(target: string, input: unknown = null): Promise<T> {
    const request = { target: parseTarget(target), input: this.#attempt.input(input) };
    const { output } = await this.#attempt.ask(this.#step(), "invoke", request);
    return decode(output) as T;
  }

  /** Starts another function exactly once, and does not wait for its end. */
  async start<T = unknown>(target: string, input: unknown = null): Promise<Handle<T>> {
    const request = { target: parseTarget(target), input: this.#attempt.input(input) };
    const { instance } = await this.#attempt.ask(this.#step(), "start", request);
    return { instance, result: () => this.await<T>(instance) };
  }

  /** Waits for the result of an instance that was started. */
  async await<T = unknown>(instance: string): Promise<T> {
    const { output } = await this.#attempt.ask(this.#step(), "await", { instance });
    return decode(output) as T;
  }

  /**
   * Runs outside code, and keeps what it returned or the Failure it threw: at least once, and never again once that is
   * recorded. The code gets a token, the same for every run, by which the outside world can tell repetitions.
   */
  async record<T>(name: string, run: (token: string) => T | Promise<T>): Promise<T> {
    const step = this.#step();
    const begun = await this.#attempt.ask(step, "beginRecord", { name });
    if (begun.failure) throw toFailure(begun.failure);
    if (begun.recorded) return decode(begun.value) as T;
    try {
      const value = this.#attempt.value((await run(begun.token)) ?? null);
      this.#attempt.tell(step, "endRecord", { value });
      // Not what the code returned: a replay gets what JSON made of it, and both must go the same way.
      return decode(value) as T;
    } catch (error) {
      if (error instanceof Failure) {
        this.#attempt.tell(step, "endRecord", { failure: fromFailure(error) });
      }
      throw error;
    }
  }

  /** The time, the same in every attempt; milliseconds. */
  async now(): Promise<Date> {
    const { time } = await this.#attempt.ask(this.#step(), "now", {});
    if (!time) throw new BeldiError("INTERNAL", "", "the sidecar answered now without a time");
    return timestampDate(time);
  }

  /** A random number in [0, 1), the same in every attempt. */
  async random(): Promise<number> {
    const { value } = await this.#attempt.ask(this.#step(), "random", {});
    return value;
  }

  /** A random id, the same in every attempt. */
  async uuid(): Promise<string> {
    const { uuid } = await this.#attempt.ask(this.#step(), "uuid", {});
    return uuid;
  }

  /** A failure to throw: the function says no, for good. */
  failure(message: string, options?: FailureOptions): Failure {
    return new Failure(message, options);
  }

  /**
   * Runs branches at the same time, each with a context of its own, and returns their results. It waits for all of them;
   * if some throw, it throws what the first of these, in the order of the array, has thrown.
   */
  async all<const B extends readonly Branch[]>(
    branches: B,
  ): Promise<{ -readonly [K in keyof B]: Awaited<ReturnType<B[K]>> }> {
    const fork = this.#step();
    const ends = await Promise.allSettled(
      branches.map(async (branch, i) => branch(new Context(this.#attempt, `${fork}/${i + 1}.`))),
    );
    const results = ends.map((end) => {
      if (end.status === "rejected") throw end.reason;
      return end.value;
    });
    return results as { -readonly [K in keyof B]: Awaited<ReturnType<B[K]>> };
  }

  async #page<T>(table: string, { prefix, limit, after, values }: ListOptions): Promise<Page<T>> {
    const request = { table, prefix: prefix ?? "", limit: limit ?? 0, after: after ?? "", values: values ?? false };
    const { entries, next } = await this.#attempt.ask(this.#step(), "list", request);
    return {
      entries: entries.map(({ key, value }) => (value ? { key, value: decode(value) as T } : { key })),
      next,
    };
  }

  async *#entries<T>(first: Promise<Page<T>>, table: string, options: ListOptions): AsyncGenerator<Entry<T>> {
    let page = await first;
    yield* page.entries;
    while (page.next) {
      page = await this.#page(table, { ...options, after: page.next });
      yield* page.entries;
    }
  }

  #step(): string {
    const name = this.#attempt.checkStepName(`${this.#prefix}${this.#last + 1}`);
    this.#last++;
    return name;
  }
}

/** "service/function"; without a service it is empty, which means the own one. */
export function parseTarget(target: string): { service: string; function: string } {
  const slash = target.indexOf("/");
  return { service: target.slice(0, Math.max(slash, 0)), function: target.slice(slash + 1) };
}
