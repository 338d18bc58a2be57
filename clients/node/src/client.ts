/** For programs that are no functions themselves. */
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { type Client as Calls, createClient } from "@connectrpc/connect";
import { type Connection, type ConnectionOptions, open } from "./address.js";
import { type Handle, parseTarget } from "./context.js";
import { fromCall, malformed } from "./errors.js";
import { Functions } from "./gen/beldi/v1/functions_pb.js";
import { decode, encode } from "./values.js";

export interface StartOptions {
  /** The same key and input give the same instance; the same key with another input is KEY_REUSED. At most 256 bytes. */
  key?: string;
}

export interface WaitOptions {
  /** How long to wait for the result, in milliseconds; then INVOKE_WAIT, and the instance runs on. Default 60 000. */
  waitMs?: number;
  /** Gives up waiting. The instance runs on. */
  signal?: AbortSignal;
}

export class Client {
  readonly #connection: Connection;
  readonly #functions: Calls<typeof Functions>;

  constructor(options: ConnectionOptions = {}) {
    this.#connection = open(options);
    this.#functions = createClient(Functions, this.#connection.transport);
  }

  /** Runs "service/function" exactly once and waits for its result. */
  async invoke<T = unknown>(
    target: string,
    input: unknown = null,
    options: StartOptions & WaitOptions = {},
  ): Promise<T> {
    const request = { ...start(target, input, options), ...wait(options) };
    const { output } = await attempt(`invoke ${target}`, this.#functions.invoke(request, call(options)));
    return decode(output) as T;
  }

  /** Returns once the instance is durable; it runs to its end whatever dies. */
  async start<T = unknown>(target: string, input: unknown = null, options: StartOptions = {}): Promise<Handle<T>> {
    const request = start(target, input, options);
    const { instance } = await attempt(`start ${target}`, this.#functions.start(request));
    return { instance, result: () => this.await<T>(instance) };
  }

  /** Waits for the result of an instance. */
  async await<T = unknown>(instance: string, options: WaitOptions = {}): Promise<T> {
    const request = { instance, ...wait(options) };
    const { output } = await attempt(`await ${instance}`, this.#functions.await(request, call(options)));
    return decode(output) as T;
  }

  /** Ends the connection, and the calls that still wait on it. */
  close(): void {
    this.#connection.close();
  }
}

function start(target: string, input: unknown, { key = "" }: StartOptions) {
  const ref = parseTarget(target);
  if (!ref.service) {
    throw malformed(`the target "${target}" is not "service/function"`);
  }
  return { ...ref, input: encode(input), idempotencyKey: key };
}

function wait({ waitMs }: WaitOptions) {
  return waitMs === undefined ? {} : { wait: durationFromMs(waitMs) };
}

function call({ signal }: WaitOptions) {
  return signal ? { signal } : {};
}

async function attempt<T>(what: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw fromCall(error, what);
  }
}
