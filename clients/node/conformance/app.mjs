// The app of clients/conformance/README.md: `node app.mjs` serves the functions, `node app.mjs client` is a caller outside.
import { createInterface } from "node:readline";
import { Client, Failure, Service } from "beldi";
import { parse, stringify } from "../dist/json.js";
import { counting } from "./counting.mjs";
import * as functions from "./functions.mjs";

const codes = { UNKNOWN: 2, INVALID_ARGUMENT: 3, DEADLINE_EXCEEDED: 4, NOT_FOUND: 5, ALREADY_EXISTS: 6 };
Object.assign(codes, { FAILED_PRECONDITION: 9, ABORTED: 10, UNIMPLEMENTED: 12, INTERNAL: 13, UNAVAILABLE: 14 });

async function serve() {
  const service = new Service(process.env.CONFORMANCE_SERVICE).function("echo", (_ctx, input) => input);
  for (const [name, body] of Object.entries(functions)) {
    service.function(name, (ctx, input) => body(counting(ctx, input.crash), input));
  }
  await service.run();
}

async function call(client, { call, target, instance, input, key }) {
  switch (call) {
    case "invoke":
      return { output: await client.invoke(target, input, { key }) };
    case "start":
      return { instance: (await client.start(target, input, { key })).instance };
    case "await":
      return { output: await client.await(instance) };
  }
}

function explain(error) {
  const { message, code, details, reason } = error;
  if (!(error instanceof Failure)) return { code: codes[code], reason, message };
  return { code: 9, reason: "FUNCTION_FAILED", message, failure: { message, code, details } };
}

async function ask() {
  const client = new Client();
  for await (const line of createInterface({ input: process.stdin })) {
    const answer = await call(client, parse(line)).catch((error) => ({ error: explain(error) }));
    process.stdout.write(`${stringify(answer)}\n`);
  }
  client.close();
}

await (process.argv[2] === "client" ? ask() : serve());
