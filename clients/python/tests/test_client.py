from __future__ import annotations

import asyncio

import pytest
from fake_sidecar import FakeSidecar

from beldi import BeldiError, Client, Context, FunctionFailed, InvalidArgument, Service, SyncClient


@pytest.fixture
def functions(service: Service) -> None:
    @service.function
    async def double(ctx: Context, n: int) -> int:
        return 2 * n

    @service.function
    async def fail(ctx: Context, _: None) -> None:
        raise ctx.failure("sold out", "SOLD_OUT", {"free": 0})


@pytest.mark.usefixtures("functions")
async def test_client(sidecar: FakeSidecar) -> None:
    async with Client() as client:
        assert await client.invoke("hotel/double", 21) == 42
        assert await client.invoke(("hotel", "double"), 4, key="k", wait=5) == 8
        assert await client.invoke("hotel/double", 4, key="k") == 8
        assert len(sidecar.instances) == 2

        started = await client.start("hotel/double", 3, key="s")
        assert await started.result() == 6
        assert await client.await_(started.instance, wait=1.5) == 6

        with pytest.raises(FunctionFailed) as failed:
            await client.invoke("hotel/fail")
        assert (failed.value.message, failed.value.code, failed.value.details) == ("sold out", "SOLD_OUT", {"free": 0})

        with pytest.raises(BeldiError, match="KEY_REUSED: invoke hotel/double: the key had another input") as reused:
            await client.invoke("hotel/double", 5, key="k")
        assert (reused.value.code, reused.value.reason) == ("ALREADY_EXISTS", "KEY_REUSED")
        assert reused.value.metadata == {"key": "k"}

        with pytest.raises(InvalidArgument, match="names no service"):
            await client.invoke("double", 1)
        with pytest.raises(InvalidArgument, match="names no function"):
            await client.invoke("hotel/", 1)


@pytest.mark.usefixtures("functions")
async def test_sync_client(sidecar: FakeSidecar, address: str) -> None:
    def calls() -> None:
        with SyncClient(address) as client:
            assert client.invoke("hotel/double", 21, key="k", wait=5) == 42
            started = client.start("hotel/double", 3)
            assert started.result() == 6
            assert client.await_(started.instance) == 6
            with pytest.raises(FunctionFailed, match="sold out"):
                client.invoke("hotel/fail")
            with pytest.raises(BeldiError, match="KEY_REUSED"):
                client.invoke("hotel/double", 22, key="k")

    await asyncio.to_thread(calls)


async def test_no_sidecar(address: str) -> None:
    async with Client() as client:
        with pytest.raises(BeldiError, match="UNAVAILABLE: invoke hotel/double: ") as refused:
            await client.invoke("hotel/double", 1)
    assert refused.value.code == "UNAVAILABLE"
