"""A function as a route of a FastAPI app, without the SDK: `beldi run -- python fastapi_app.py`.

The sidecar POSTs each attempt to url + "/" + function. 2xx completes the instance with the body as its result, 4xx fails
it for good with {message, code}; anything else, or no answer, is a crash, and another attempt follows. Steps are numbered
as they arrive: steps that are sent in parallel must be named, as `total` does.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import uvicorn
from fastapi import FastAPI, Header

SIDECAR = os.environ.get("BELDI_URL", "http://127.0.0.1:7400")
TOKEN = os.environ.get("BELDI_TOKEN")
SERVICE, PORT = "orders", 5002

sidecar = httpx.AsyncClient(
    base_url=SIDECAR,
    headers={"Authorization": f"Bearer {TOKEN}"} if TOKEN else {},
    timeout=None,  # a step may wait for another function
)


async def post(path: str, body: dict, **headers: str) -> dict:
    response = await sidecar.post(f"/v1/{path}", json=body, headers=headers)
    response.raise_for_status()
    return response.json()


async def step(attempt: str, operation: str, **body: object) -> dict:
    """One step of an attempt, which its token names."""
    return await post(f"steps:{operation}", body, **{"Beldi-Attempt": attempt})


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    # At each start: the sidecar may be a new one, too. It waits for a route that does not listen yet.
    url = f"http://127.0.0.1:{PORT}/beldi"
    await post(f"services/{SERVICE}/endpoint", {"functions": ["total"], "url": url})
    yield
    await sidecar.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/beldi/total")
async def total(order: dict, beldi_attempt: Annotated[str, Header()]) -> dict:
    """Adds up the prices of the items of an order, and keeps the sum."""

    def price(item: str):
        return step(
            beldi_attempt, "read", table="prices", key=item, step=f"price/{item}"
        )

    # By name, for an order may have an item twice.
    items = sorted(set(order["items"]))
    answers = await asyncio.gather(*map(price, items))
    prices = dict(zip(items, [answer.get("value") or 0 for answer in answers]))
    sum_ = sum(prices[item] for item in order["items"])
    await step(
        beldi_attempt, "write", table="totals", key=order["id"], value=sum_, step="sum"
    )
    return {"total": sum_}


if __name__ == "__main__":
    uvicorn.run(app, port=PORT)
