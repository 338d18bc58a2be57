/** Where the sidecar is, and how to speak to it. */
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { userInfo } from "node:os";
import type { Interceptor, Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

export interface ConnectionOptions {
  /** `unix:///path/of/socket` or `host:port`. Default: see the README. */
  address?: string;
  /** Sent as bearer token. Default: the environment variable BELDI_TOKEN. */
  token?: string;
}

export interface Connection {
  readonly address: string;
  readonly transport: Transport;
  /** Ends every call on it. */
  close(): void;
}

const tcpDefault = "127.0.0.1:7401";

/** Connects lazily: it is the first call that finds out whether somebody listens. */
export function open(options: ConnectionOptions = {}): Connection {
  const address = options.address ?? process.env.BELDI_ADDRESS ?? defaultAddress();
  const token = options.token ?? process.env.BELDI_TOKEN;
  const path = socketPath(address);
  const baseUrl = path === undefined ? `http://${address}` : "http://localhost";
  const sessionManager = new Http2SessionManager(
    baseUrl,
    {},
    path === undefined ? {} : { createConnection: () => connect(path) },
  );
  const transport = createGrpcTransport({ baseUrl, sessionManager, interceptors: token ? [bearer(token)] : [] });
  return { address, transport, close: () => sessionManager.abort() };
}

function socketPath(address: string): string | undefined {
  return /^unix:(?:\/\/)?(.+)$/.exec(address)?.[1];
}

function defaultAddress(): string {
  const directory = process.env.XDG_RUNTIME_DIR || `/tmp/beldi-${userInfo().uid}`;
  const path = `${directory}/beldi.sock`;
  return existsSync(path) ? `unix://${path}` : tcpDefault;
}

function bearer(token: string): Interceptor {
  return (next) => (request) => {
    request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
}
