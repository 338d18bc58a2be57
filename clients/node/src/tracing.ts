/** Runs functions in the trace of their attempt, if the program has OpenTelemetry. */
import type * as OpenTelemetry from "@opentelemetry/api";

/** Calls `run` with the span of the traceparent as the current one. */
export type InTrace = <T>(traceparent: string, run: () => T) => T;

const traceparentForm = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})/;

export async function loadTracing(): Promise<InTrace> {
  let api: typeof OpenTelemetry;
  try {
    api = await import("@opentelemetry/api");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") throw error;
    return (_traceparent, run) => run();
  }
  // Not the global propagator: it need not be set, and may speak another format than the contract does.
  return (traceparent, run) => {
    const [, traceId, spanId, flags] = traceparentForm.exec(traceparent) ?? [];
    if (!traceId || !spanId || !flags) return run();
    const span = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
    return api.context.with(api.trace.setSpanContext(api.context.active(), span), run);
  };
}
