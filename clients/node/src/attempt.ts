/** One attempt on one stream: pairs answers with the calls that wait for them, and ends exactly once. */
import { inspect } from "node:util";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { BeldiError, Cancelled, Failure, fromAnswer, fromFailure, malformed, tooLarge } from "./errors.js";
import type { Answer, Attempt as AttemptMessage, Limits, StepSchema } from "./gen/beldi/v1/worker_pb.js";
import { decode, type Encoded, encode } from "./values.js";

export type StepInit = MessageInitShape<typeof StepSchema>;
type Op = NonNullable<StepInit["op"]>;
type Result = Exclude<Answer["result"], { case: undefined } | { case: "error" }>;
type Kind = Result["case"];
type ValueOf<C extends Op["case"]> = Extract<Op, { case: C }>["value"];
type ResultOf<K extends Kind> = Extract<Result, { case: K }>["value"];

interface Waiting {
  kind: Kind;
  resolve(value: Result["value"]): void;
  reject(error: Error): void;
}

/** The stream, as an attempt sees it. */
export interface Link {
  readonly limits: Limits;
  put(step: StepInit): void;
  ended(attempt: Attempt): void;
  log(message: string, error?: unknown): void;
}

// What the contract cuts traces to.
const traceLimit = 8 << 10;

export class Attempt {
  readonly #controller = new AbortController();
  readonly #waiting = new Map<string, Waiting>();
  #over: Cancelled | undefined;
  #refused: Error | undefined;

  constructor(
    readonly message: AttemptMessage,
    private readonly link: Link,
  ) {}

  /** Aborted when somebody else than the function ends the attempt. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  toString(): string {
    const { service, function: name, instance, number } = this.message;
    return `${service}/${name} ${instance} attempt ${number}`;
  }

  /** Sends a step that is answered by a result of its own kind. */
  ask<K extends Kind>(name: string, kind: K, value: ValueOf<K>): Promise<ResultOf<K>> {
    return new Promise((resolve, reject) => {
      this.tell(name, kind, value);
      // Safe, because answered() resolves only with a result of this kind.
      this.#waiting.set(name, { kind, resolve: resolve as Waiting["resolve"], reject });
    });
  }

  /** Sends a step that has no answer unless the sidecar refuses it. */
  tell<C extends Op["case"]>(name: string, kind: C, value: ValueOf<C>): void {
    const stopped = this.#over ?? this.#refused;
    if (stopped) throw stopped;
    this.link.put({ attempt: this.message.attempt, name, op: { case: kind, value } as Op });
  }

  answered({ step, result }: Answer): void {
    const waiting = this.#waiting.get(step);
    this.#waiting.delete(step);
    if (result.case === "error") {
      const error = fromAnswer(result.value);
      // Nobody waits for a write. The function has moved on, so its next step must tell it.
      if (waiting) waiting.reject(error);
      else this.#refused = error;
    } else if (waiting && result.case === waiting.kind) {
      waiting.resolve(result.value);
    } else {
      waiting?.reject(new BeldiError("INTERNAL", "", `step ${step} was answered by ${result.case ?? "nothing"}`));
    }
  }

  /** Runs the function to its end, and says how it ended. Never rejects. */
  async run(handler: (input: unknown) => unknown): Promise<void> {
    try {
      const output = await handler(decode(this.message.input));
      if (this.#refused) throw this.#refused;
      this.#end({ case: "complete", value: { output: this.input(output ?? null) } });
    } catch (error) {
      this.#raised(error);
    }
  }

  /** The attempt was ended by somebody else: its code should stop. */
  cancel(reason: Cancelled): void {
    if (this.#close(reason)) this.#controller.abort(reason);
  }

  checkStepName(name: string): string {
    this.#check("step name", name.length, this.link.limits.stepName);
    return name;
  }

  key(key: string): string {
    // Protobuf would send another character instead, and unlike keys would become the same one.
    if (!key.isWellFormed()) throw malformed(`the key ${JSON.stringify(key)} has half of a surrogate pair`);
    this.#check("key", Buffer.byteLength(key), this.link.limits.key);
    return key;
  }

  value(value: unknown): Encoded {
    const encoded = encode(value);
    this.#check("value", encoded.data.length, this.link.limits.value);
    return encoded;
  }

  /** An input or a result. */
  input(value: unknown): Encoded {
    const encoded = encode(value);
    this.#check("input or result", encoded.data.length, this.link.limits.input);
    return encoded;
  }

  // A limit of 0 is one that the sidecar did not state.
  #check(what: string, size: number, limit: bigint): void {
    if (limit > 0n && size > limit) throw tooLarge(what, size, Number(limit));
  }

  #raised(error: unknown): void {
    if (this.#over) return;
    if (this.#refused || !(error instanceof Failure)) {
      this.#crash(this.#refused ?? error);
      return;
    }
    try {
      this.#end({ case: "fail", value: { failure: fromFailure(error) } });
    } catch (unsayable) {
      this.#crash(unsayable);
    }
  }

  #crash(error: unknown): void {
    this.link.log(`beldi: ${this} crashed:`, error);
    this.#end({ case: "crash", value: { message: String(error), trace: inspect(error).slice(0, traceLimit) } });
  }

  #end(op: Op): void {
    if (!this.#close(new Cancelled("ABORTED", "", `${this} has ended`))) return;
    this.link.put({ attempt: this.message.attempt, op });
  }

  #close(reason: Cancelled): boolean {
    if (this.#over) return false;
    this.#over = reason;
    for (const { reject } of this.#waiting.values()) reject(reason);
    this.#waiting.clear();
    this.link.ended(this);
    return true;
  }
}
