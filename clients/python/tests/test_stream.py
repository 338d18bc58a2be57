"""The life of the stream: cancelled attempts, lost sidecars, drain, signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import pytest
from fake_sidecar import FakeSidecar

import beldi
from beldi import BeldiError, Cancelled, Context, Service, Superseded, ThreadContext, _address
from beldi._pb import worker_pb2 as pb


async def test_hello_says_what_is_served(sidecar: FakeSidecar) -> None:
    service = Service("hotel", concurrency=5)

    @service.function
    async def reserve(ctx: Context, _: None) -> None: ...

    @service.function(name="cancel")
    def undo(ctx: ThreadContext, _: None) -> None: ...

    async with service.serving():
        hello = (await sidecar.connection()).hello
    expected = pb.Hello(
        service="hotel", functions=["reserve", "cancel"], sdk=f"python/{beldi.__version__}", concurrency=5
    )
    assert hello == expected


async def test_the_token_is_sent(sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELDI_TOKEN", "secret")
    async with Service("hotel").serving():
        metadata = (await sidecar.connection()).context.invocation_metadata()
    assert ("authorization", "Bearer secret") in [(key, value) for key, value in metadata or ()]


@pytest.mark.parametrize("reason", ["SUPERSEDED", "NON_DETERMINISM"])
async def test_cancel_stops_a_task(sidecar: FakeSidecar, service: Service, reason: str) -> None:
    running, stopped = asyncio.Event(), asyncio.Event()
    seen: list[BaseException] = []

    @service.function
    async def sleeps(ctx: Context, _: None) -> None:
        try:
            ctx.write("t", "k", 1)
            running.set()
            await asyncio.Event().wait()
        except Exception:
            raise AssertionError("an attempt that is over is no ordinary exception") from None
        except asyncio.CancelledError as over:
            seen.append(over)
            with pytest.raises(Cancelled) as refused:
                ctx.write("t", "k", 2)
            seen.append(refused.value)
            raise
        finally:
            stopped.set()

    instance = await sidecar.begin("sleeps")
    await running.wait()
    await sidecar.cancel(sidecar.connections[0], instance, reason)
    await stopped.wait()
    assert isinstance(seen[1], Superseded) == (reason == "SUPERSEDED")
    assert isinstance(seen[1], Cancelled)
    assert seen[1].reason == reason
    assert await alive(sidecar, service)
    assert instance.crashes == []


async def test_cancel_stops_a_thread_at_its_step(sidecar: FakeSidecar, service: Service) -> None:
    sidecar.hold = {"read": asyncio.Event()}
    stopped = asyncio.Event()
    seen: list[BaseException] = []
    loop = asyncio.get_running_loop()

    @service.function
    def reads(ctx: ThreadContext, _: None) -> None:
        for step in (lambda: ctx.read("t", "k"), lambda: ctx.write("t", "k", 1), lambda: ctx.now()):
            try:
                step()
            except Superseded as over:
                seen.append(over)
        loop.call_soon_threadsafe(stopped.set)

    instance = await sidecar.begin("reads")
    connection = await sidecar.connection()
    await instance.steps_arrive(1)
    await sidecar.cancel(connection, instance, "SUPERSEDED")
    await stopped.wait()
    assert len(seen) == 3
    assert await alive(sidecar, service)


async def test_branches_are_cancelled_with_their_attempt(sidecar: FakeSidecar, service: Service) -> None:
    sidecar.hold = {"read": asyncio.Event()}
    stopped: asyncio.Queue[str] = asyncio.Queue()

    async def branch(ctx: Context) -> None:
        try:
            await ctx.read("t", "k")
        except asyncio.CancelledError:
            stopped.put_nowait("stopped")
            raise

    @service.function
    async def fork(ctx: Context, _: None) -> None:
        await ctx.gather(branch, branch)

    instance = await sidecar.begin("fork")
    await instance.steps_arrive(2)
    await sidecar.cancel(sidecar.connections[0], instance, "CANCELLED")
    assert [await stopped.get(), await stopped.get()] == ["stopped", "stopped"]


async def test_a_lost_stream_cancels_and_comes_back(address: str, caplog: pytest.LogCaptureFixture) -> None:
    service = Service("hotel")
    cancelled = asyncio.Event()
    running = asyncio.Event()

    @service.function
    async def waits(ctx: Context, _: None) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    @service.function
    async def answers(ctx: Context, _: None) -> str:
        return "here"

    stop = asyncio.Event()
    served = asyncio.create_task(service.serve(stop))
    async with FakeSidecar(address) as first:
        await first.begin("waits")
        await running.wait()
    await cancelled.wait()
    async with FakeSidecar(address) as second:
        assert (await second.run("answers")).output == "here"
        said = [record.getMessage().split(" (")[0] for record in caplog.records if record.name == "beldi"]
        stop.set()
        await served
    assert said == [f"lost the sidecar at {address}"]


async def test_a_sidecar_that_is_not_there_is_waited_for(
    address: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service("hotel")
    logged = asyncio.Event()

    def on_record(_: logging.LogRecord) -> bool:
        logged.set()
        return True

    monkeypatch.setattr(logging.getLogger("beldi"), "filters", [on_record])

    @service.function
    async def answers(ctx: Context, _: None) -> str:
        return "here"

    stop = asyncio.Event()
    served = asyncio.create_task(service.serve(stop))
    await logged.wait()
    async with FakeSidecar(address) as sidecar:
        assert (await sidecar.run("answers")).output == "here"
        said = [record.getMessage() for record in caplog.records if record.name == "beldi"]
        stop.set()
        await served
    assert len(said) == 1
    assert said[0].startswith(f"no sidecar at {address} (")
    assert "start one with `beldi run`" in said[0]


async def test_a_sidecar_that_says_no_ends_serve(address: str) -> None:
    class Refusing(FakeSidecar):
        async def _greet(self, connection: object, hello: pb.Hello) -> None:
            await connection.context.abort(beldi.service.grpc.StatusCode.UNAUTHENTICATED, "bad token")  # type: ignore[attr-defined]

    async with Refusing(address):
        with pytest.raises(BeldiError, match=f"serve hotel at {address}: bad token"):
            await Service("hotel").serve()
        with pytest.raises(BeldiError, match="bad token"):
            async with Service("hotel").serving():
                pytest.fail("entered")


async def test_drain_lets_attempts_end(sidecar: FakeSidecar) -> None:
    service = Service("hotel")
    running = asyncio.Event()

    @service.function
    async def slow(ctx: Context, gate: str) -> object:
        running.set()
        return await ctx.read("t", gate)

    sidecar.hold = {"read": asyncio.Event()}
    stop = asyncio.Event()
    task = asyncio.create_task(service.serve(stop))
    instance = await sidecar.begin("slow", "g")
    await running.wait()
    stop.set()
    connection = sidecar.connections[0]
    await connection.draining.wait()
    assert connection.hello.service == "hotel"
    assert not task.done()
    sidecar.hold["read"].set()
    assert (await instance.done).output is None
    await task
    await connection.ended.wait()


async def test_drain_gives_up_after_its_grace(sidecar: FakeSidecar, caplog: pytest.LogCaptureFixture) -> None:
    service = Service("hotel")
    running, cancelled = asyncio.Event(), asyncio.Event()

    @service.function
    async def stuck(ctx: Context, _: None) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    stop = asyncio.Event()
    task = asyncio.create_task(service.serve(stop, grace=0))
    instance = await sidecar.begin("stuck")
    await running.wait()
    stop.set()
    await task
    assert cancelled.is_set()
    assert not instance.done.done()
    assert "1 attempts did not end within 0 s" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_run_ends_with_0_on_a_signal(sidecar: FakeSidecar, tmp_path: Path, number: signal.Signals) -> None:
    program = tmp_path / "app.py"
    program.write_text(
        "from beldi import Service\n"
        "import time\n"
        "s = Service('hotel')\n"
        "@s.function\n"
        "def quick(ctx, n):\n"
        "    return n + ctx.read('t', 'k')\n"
        "s.run()\n"
    )
    sidecar.tables = {("t", "k"): 1}
    sidecar.hold = {"read": asyncio.Event()}
    process = await asyncio.create_subprocess_exec(sys.executable, str(program), env=dict(os.environ))
    instance = await sidecar.begin("quick", 41)
    await instance.steps_arrive(1)
    process.send_signal(number)
    await sidecar.connections[0].draining.wait()
    sidecar.hold["read"].set()
    assert (await instance.done).output == 42
    assert await process.wait() == 0


async def test_the_function_joins_the_trace_of_its_attempt(sidecar: FakeSidecar, service: Service) -> None:
    from opentelemetry import trace

    def span_id() -> str:
        return f"{trace.get_current_span().get_span_context().span_id:016x}"

    @service.function
    async def in_a_task(ctx: Context, _: None) -> object:
        return [span_id(), ctx.traceparent.split("-")[2]]

    @service.function
    def in_a_thread(ctx: ThreadContext, _: None) -> object:
        return [span_id(), ctx.traceparent.split("-")[2]]

    for function in ("in_a_task", "in_a_thread"):
        assert (await sidecar.run(function)).output == ["b7ad6b7169203331"] * 2


async def test_the_address_is_that_of_a_sidecar_that_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BELDI_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert _address.resolve() == "127.0.0.1:7401"
    server = await asyncio.start_unix_server(lambda *_: None, path=tmp_path / "beldi.sock")
    assert _address.resolve() == f"unix://{tmp_path}/beldi.sock"
    server.close()
    await server.wait_closed()
    # Python before 3.13 leaves the file, like a sidecar that was killed.
    assert _address.resolve() == "127.0.0.1:7401"
    monkeypatch.setenv("BELDI_ADDRESS", "127.0.0.1:1")
    assert _address.resolve() == "127.0.0.1:1"


async def alive(sidecar: FakeSidecar, service: Service) -> bool:
    """Whether the worker goes on after what the test did to it."""

    @service.function
    async def alive(ctx: Context, _: None) -> bool:
        return True

    return (await sidecar.run("alive")).output is True and len(sidecar.connections) == 1
