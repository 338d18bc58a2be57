/**
 * What can go wrong, and who says so.
 *
 * | class          | means                                    | uncaught, it ends the attempt as            |
 * |----------------|------------------------------------------|---------------------------------------------|
 * | Failure        | the function says no, for good           | failed: a result, which the caller gets     |
 * | FunctionFailed | an invoked function said no              | failed, with its message, code and details  |
 * | BeldiError     | the sidecar refused or could not do it   | a crash: another attempt follows            |
 * | Cancelled      | this attempt is over                     | nothing: it is over already                 |
 */
import { ConnectError } from "@connectrpc/connect";
import { type Error as ErrorMessage, type Failure as FailureMessage, FailureSchema } from "./gen/beldi/v1/types_pb.js";
import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { decode, type Encoded, encode } from "./values.js";

// In the order of their numbers.
const statusNames = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

/** The name of a gRPC status. */
export type StatusName = (typeof statusNames)[number];

/** What a failure may say beside its message. */
export interface FailureOptions {
  /** A short name that callers can switch on ("SOLD_OUT"). */
  code?: string;
  /** Any value, for the caller's program. */
  details?: unknown;
}

/** A function fails for good: not a crash but a result, which its caller gets exactly once. */
export class Failure extends Error {
  override name = "Failure";
  /** A short name that callers can switch on; may be empty. */
  readonly code: string;
  readonly details: unknown;

  constructor(message: string, { code = "", details }: FailureOptions = {}) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

/** The function that was invoked or awaited failed for good. */
export class FunctionFailed extends Failure {
  override name = "FunctionFailed";
}

/** The sidecar refused an operation or could not do it. */
export class BeldiError extends Error {
  override name = "BeldiError";

  constructor(
    /** The gRPC status ("INVALID_ARGUMENT"). */
    readonly code: StatusName,
    /** Which case of it ("TOO_LARGE"); may be empty. */
    readonly reason: string,
    message: string,
    readonly metadata: Readonly<Record<string, string>> = {},
  ) {
    super(reason ? `${reason}: ${message}` : message);
  }
}

/** This attempt is over: superseded, timed out or cancelled. None of its steps is served any more. */
export class Cancelled extends BeldiError {
  override name = "Cancelled";
}

export function tooLarge(what: string, size: number, limit: number): BeldiError {
  return new BeldiError(
    "INVALID_ARGUMENT",
    "TOO_LARGE",
    `${what} of ${size} bytes is over the limit of ${limit} bytes`,
  );
}

export function malformed(message: string): BeldiError {
  return new BeldiError("INVALID_ARGUMENT", "MALFORMED", message);
}

/** The error for an answer that is one. */
export function fromAnswer(error: ErrorMessage): Failure | BeldiError {
  if (error.failure) return toFailure(error.failure, FunctionFailed);
  return new BeldiError(statusName(error.code), error.reason, error.message, error.metadata);
}

/** The error for the end of an attempt. */
export function fromCancel(error: ErrorMessage | undefined): Cancelled {
  if (!error) return new Cancelled("ABORTED", "CANCELLED", "the sidecar cancelled the attempt");
  return new Cancelled(statusName(error.code), error.reason, error.message, error.metadata);
}

/** The error for a failed call; `attempted` says what the call was to do. */
export function fromCall(error: unknown, attempted: string): Failure | BeldiError {
  const status = ConnectError.from(error);
  const [failure] = status.findDetails(FailureSchema);
  if (failure) return toFailure(failure, FunctionFailed);
  const [info] = status.findDetails(ErrorInfoSchema);
  const message = `${attempted}: ${status.rawMessage}`;
  return new BeldiError(
    isUnreachable(status) ? "UNAVAILABLE" : statusName(status.code),
    info?.reason ?? "",
    message,
    info?.metadata,
  );
}

export function toFailure(message: FailureMessage, kind: typeof Failure = Failure): Failure {
  const details = message.details && decode(message.details);
  return new kind(message.message, { code: message.code, details });
}

/** The fields of beldi.v1.Failure. */
export function fromFailure({ message, code, details }: Failure): { message: string; code: string; details?: Encoded } {
  return details === undefined ? { message, code } : { message, code, details: encode(details) };
}

// Of the errors of connect(2), a socket that does not exist would be INTERNAL.
function isUnreachable({ cause }: ConnectError): boolean {
  return (cause as NodeJS.ErrnoException | undefined)?.syscall === "connect";
}

function statusName(code: number): StatusName {
  return statusNames[code] ?? "UNKNOWN";
}
