import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Client, FunctionFailed } from "beldi";
import { decode, encode } from "../dist/values.js";
import { Sidecar } from "./sidecar.mjs";

let sidecar;
let client;
beforeEach(async () => {
  sidecar = await Sidecar.start();
  client = new Client({ address: sidecar.address, token: "secret" });
});
afterEach(async () => {
  client.close();
  await sidecar.stop();
});

test("invoke, start and await", async () => {
  sidecar.callees.set("hotel/reserve", (input) => encode({ booked: decode(input).hotel }));
  assert.deepEqual(await client.invoke("hotel/reserve", { hotel: "h1" }, { key: "k1", waitMs: 500 }), { booked: "h1" });
  assert.equal(sidecar.headers[0].get("authorization"), "Bearer secret");
  const handle = await client.start("hotel/reserve", { hotel: "h2" });
  sidecar.callees.set("hotel/reserve", () => encode("done"));
  assert.equal(await handle.result(), "done");
  assert.equal(await client.await(handle.instance), "done");
});

test("a function's failure", async () => {
  sidecar.callees.set("hotel/reserve", { failure: { message: "sold out", code: "SOLD_OUT", details: encode([1]) } });
  const error = await client.invoke("hotel/reserve").catch((error) => error);
  assert.ok(error instanceof FunctionFailed);
  assert.deepEqual([error.message, error.code, error.details], ["sold out", "SOLD_OUT", [1]]);
});

test("other errors say what was attempted", async () => {
  await assert.rejects(client.invoke("hotel/cancel"), {
    name: "BeldiError",
    code: "NOT_FOUND",
    reason: "NO_SUCH_FUNCTION",
    message: "NO_SUCH_FUNCTION: invoke hotel/cancel: no function hotel/cancel",
    metadata: { function: "hotel/cancel" },
  });
});

test("a target without service is refused", async () => {
  await assert.rejects(client.invoke("reserve"), { reason: "MALFORMED" });
});

test("no sidecar", async () => {
  const nowhere = new Client({ address: "unix:///nonexistent/beldi.sock" });
  await assert.rejects(nowhere.start("hotel/reserve"), { code: "UNAVAILABLE", message: /^start hotel\/reserve: / });
  nowhere.close();
});
