export type { ConnectionOptions } from "./address.js";
export { Client, type StartOptions, type WaitOptions } from "./client.js";
export type { Context, Entry, Handle, Listing, ListOptions, Page } from "./context.js";
export { BeldiError, Cancelled, Failure, type FailureOptions, FunctionFailed, type StatusName } from "./errors.js";
export { type Handler, Service, type ServiceOptions } from "./service.js";
