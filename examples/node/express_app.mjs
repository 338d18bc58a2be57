// A function that is a route of an Express app and calls its sidecar by REST, without the SDK:
// `beldi run -- node express_app.mjs`.
//
// The sidecar POSTs each attempt to url + "/" + function. 2xx completes the instance with the body as its result, 4xx
// fails it for good with {message, code}; anything else, or no answer, is a crash, and another attempt follows. Steps are
// numbered as they arrive: send them one after another, or name them ({"step": "…"}).
import express from "express";

const sidecar = process.env.BELDI_URL ?? "http://127.0.0.1:7400";
const service = "stock";
const port = 5001;

async function post(path, body, headers = {}) {
  const response = await fetch(`${sidecar}/v1/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`POST ${path}: ${response.status} ${answer.message}`);
  return answer;
}

/** The steps of the attempt that a request is. Its token says which. */
function stepsOf(request) {
  const token = { "Beldi-Attempt": request.get("Beldi-Attempt") };
  return {
    read: (table, key) => post("steps:read", { table, key }, token),
    condWrite: (table, key, value, condition) => post("steps:condWrite", { table, key, value, condition }, token),
  };
}

const app = express();
app.use(express.json({ strict: false }));

app.post("/beldi/take", async (request, response) => {
  const steps = stepsOf(request);
  for (;;) {
    const { found, value } = await steps.read("items", request.body.item);
    if (!found || value.free < 1) {
      return response.status(409).json({ message: `no ${request.body.item} left`, code: "SOLD_OUT" });
    }
    const rest = { ...value, free: value.free - 1 };
    const { applied } = await steps.condWrite("items", request.body.item, rest, `value.free == ${value.free}`);
    if (applied) return response.json({ taken: request.body.item, left: rest.free });
  }
});

app.listen(port, "127.0.0.1", async () => {
  // At each start: the sidecar may be a new one, too.
  await post(`services/${service}/endpoint`, { functions: ["take"], url: `http://127.0.0.1:${port}/beldi` });
  console.log(`${service} listens on ${port}`);
});
