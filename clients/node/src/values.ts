/** JavaScript values on the wire: bytes as they are, everything else as JSON. */
import { parse, stringify } from "./json.js";

const JSON_TYPE = "application/json";
const BYTES_TYPE = "application/octet-stream";

/** The fields of beldi.v1.Payload. */
export interface Encoded {
  data: Uint8Array;
  contentType: string;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Throws TypeError for what JSON cannot say: undefined, functions, NaN, cycles. */
export function encode(value: unknown): Encoded {
  // A copy, because the message leaves later than this returns, and the caller may reuse its buffer.
  if (value instanceof Uint8Array) return { data: new Uint8Array(value), contentType: BYTES_TYPE };
  return { data: Buffer.from(stringify(value)), contentType: JSON_TYPE };
}

/** JSON becomes a value, any other content type stays bytes. No payload at all is null. */
export function decode(payload: Encoded | undefined): unknown {
  if (payload === undefined) return null;
  const type = payload.contentType.split(";", 1)[0]?.trim();
  if (type !== "" && type !== JSON_TYPE) return payload.data;
  return payload.data.length === 0 ? null : parse(utf8.decode(payload.data));
}
