"""A function as a route of a Flask app, without the SDK: `beldi run -- python flask_app.py`.

The sidecar POSTs each attempt to url + "/" + function. 2xx completes the instance with the body as its result, 4xx fails
it for good with {message, code}; anything else, or no answer, is a crash, and another attempt follows. Steps are numbered
as they arrive: send them one after another, or name them ({"step": "…"}).
"""

import os

import requests
from flask import Flask, request

SIDECAR = os.environ.get("BELDI_URL", "http://127.0.0.1:7400")
SERVICE, PORT = "stock", 5000

app = Flask(__name__)
session = requests.Session()
if "BELDI_TOKEN" in os.environ:
    session.headers["Authorization"] = f"Bearer {os.environ['BELDI_TOKEN']}"


def post(path: str, body: dict, **headers: str) -> dict:
    response = session.post(f"{SIDECAR}/v1/{path}", json=body, headers=headers)
    response.raise_for_status()
    return response.json()


def step(operation: str, **body: object) -> dict:
    """One step of the attempt that the request at hand is: its token says which."""
    token = {"Beldi-Attempt": request.headers["Beldi-Attempt"]}
    return post(f"steps:{operation}", body, **token)


@app.post("/beldi/take")
def take():
    item = request.get_json()["item"]
    while True:
        stored = step("read", table="items", key=item)
        if not stored["found"] or stored["value"]["free"] < 1:
            return {"message": f"no {item} left", "code": "SOLD_OUT"}, 409
        free = stored["value"]["free"]
        left = {**stored["value"], "free": free - 1}
        # Another attempt may have taken one since the read.
        unchanged = f"value.free == {free}"
        if step("condWrite", table="items", key=item, value=left, condition=unchanged)[
            "applied"
        ]:
            return {"taken": item, "left": left["free"]}


if __name__ == "__main__":
    # At each start: the sidecar may be a new one, too. It waits for a route that does not listen yet.
    url = f"http://127.0.0.1:{PORT}/beldi"
    post(f"services/{SERVICE}/endpoint", {"functions": ["take"], "url": url})
    app.run(port=PORT)
