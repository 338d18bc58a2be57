"""What a function sees: values, errors, the ways to end."""

from __future__ import annotations

import asyncio
import functools
import threading
from datetime import datetime, timezone

import pytest
from fake_sidecar import FakeSidecar

from beldi import BeldiError, Context, Failure, FunctionFailed, InvalidArgument, Service, ThreadContext, values
from beldi._pb.types_pb2 import Error, Payload

BIG = 12345678901234567890123


async def test_operations_of_an_async_function(sidecar: FakeSidecar, service: Service) -> None:
    sidecar.callees = {"/own": lambda n: n + 1, "air/fly": lambda n: [n]}

    @service.function
    async def all_of_them(ctx: Context, order: dict[str, int]) -> object:
        absent = await ctx.read("t", "k")
        default = await ctx.read("t", "k", default=0)
        await ctx.write("t", "k", {"n": order["n"]})
        ctx.write("t", "gone", 1)
        ctx.delete("t", "gone")
        stored = await ctx.read("t", "k")
        applied = await ctx.cond_write("t", "gone", 5, "!found")
        not_applied = await ctx.cond_write("t", "gone", 6, "!found")
        updated = await ctx.update("t", "gone", "value + input", input=2)
        started = await ctx.start(("air", "fly"), 3)
        return {
            "absent": absent,
            "default": default,
            "stored": stored,
            "applied": [applied, not_applied],
            "updated": updated,
            "invoked": [await ctx.invoke("own", 1), await ctx.invoke("air/fly", 2)],
            "started": await started.result(),
            "awaited": await ctx.await_(started.instance),
            "now": (await ctx.now()).isoformat(),
            "ambient": [await ctx.random(), await ctx.uuid()],
            "context": [ctx.service, ctx.function, ctx.instance, ctx.attempt],
        }

    outcome = await sidecar.run("all_of_them", {"n": BIG})
    assert outcome.output == EXPECTED


async def test_operations_of_a_plain_function(sidecar: FakeSidecar, service: Service) -> None:
    sidecar.callees = {"/own": lambda n: n + 1, "air/fly": lambda n: [n]}

    @service.function
    def all_of_them(ctx: ThreadContext, order: dict[str, int]) -> object:
        assert threading.current_thread() is not threading.main_thread()
        absent = ctx.read("t", "k")
        default = ctx.read("t", "k", default=0)
        ctx.write("t", "k", {"n": order["n"]})
        ctx.write("t", "gone", 1)
        ctx.delete("t", "gone")
        stored = ctx.read("t", "k")
        applied = ctx.cond_write("t", "gone", 5, "!found")
        not_applied = ctx.cond_write("t", "gone", 6, "!found")
        updated = ctx.update("t", "gone", "value + input", input=2)
        started = ctx.start(("air", "fly"), 3)
        return {
            "absent": absent,
            "default": default,
            "stored": stored,
            "applied": [applied, not_applied],
            "updated": updated,
            "invoked": [ctx.invoke("own", 1), ctx.invoke("air/fly", 2)],
            "started": started.result(),
            "awaited": ctx.await_(started.instance),
            "now": ctx.now().isoformat(),
            "ambient": [ctx.random(), ctx.uuid()],
            "context": [ctx.service, ctx.function, ctx.instance, ctx.attempt],
        }

    outcome = await sidecar.run("all_of_them", {"n": BIG})
    assert outcome.output == EXPECTED


EXPECTED = {
    "absent": None,
    "default": 0,
    "stored": {"n": BIG},
    "applied": [True, False],
    "updated": 7,
    "invoked": [2, [2]],
    "started": [3],
    "awaited": [3],
    "now": datetime(2026, 11, 21, 14, 1, 18, 123456, tzinfo=timezone.utc).isoformat(),
    "ambient": [0.25, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"],
    "context": ["hotel", "all_of_them", "i1", 1],
}


async def test_list_and_scan(sidecar: FakeSidecar, service: Service) -> None:
    sidecar.tables = {("t", f"k{n}"): n for n in range(5)}

    @service.function
    async def list_async(ctx: Context, _: None) -> object:
        page = await ctx.list("t", prefix="k", limit=2)
        return [page.entries, page.next, [entry async for entry in ctx.scan("t", values=True, page=2)]]

    @service.function
    def list_plain(ctx: ThreadContext, _: None) -> object:
        page = ctx.list("t", prefix="k", limit=2)
        return [page.entries, page.next, list(ctx.scan("t", values=True, page=2))]

    for function in ("list_async", "list_plain"):
        entries, after, everything = (await sidecar.run(function)).output
        assert entries == [["k0", None], ["k1", None]]
        assert after == "k1"
        assert everything == [[f"k{n}", n] for n in range(5)]


@pytest.mark.parametrize("value", [b"\x00\xff", b"", "Zürich \U0001f600", BIG, -0.5, None, [], {"a": [1, {}]}])
async def test_values_come_back_as_they_went(sidecar: FakeSidecar, service: Service, value: object) -> None:
    @service.function
    async def echo(_: Context, value: object) -> object:
        return value

    assert (await sidecar.run("echo", value)).output == value


def test_values_that_json_cannot_say_are_refused() -> None:
    for value in (float("nan"), {1, 2}, object()):
        with pytest.raises((TypeError, ValueError)):
            values.encode(value)


def test_a_payload_of_another_content_type_is_bytes() -> None:
    assert values.decode(Payload(data=b"x", content_type="image/png")) == b"x"
    assert values.decode(Payload(data=b'{"a":1}', content_type="application/json; charset=utf-8")) == {"a": 1}


async def test_failure_ends_the_instance(sidecar: FakeSidecar, service: Service) -> None:
    @service.function
    async def reserve(ctx: Context, _: None) -> None:
        raise ctx.failure("sold out", code="SOLD_OUT", details={"free": 0})

    @service.function
    def plain(ctx: ThreadContext, _: None) -> None:
        raise Failure("no")

    failure = (await sidecar.run("reserve")).failure
    assert failure is not None
    assert (failure.message, failure.code, failure.details.data) == ("sold out", "SOLD_OUT", b'{"free":0}')
    failure = (await sidecar.run("plain")).failure
    assert failure is not None
    assert (failure.message, failure.code, failure.HasField("details")) == ("no", "", False)


async def test_failure_of_a_callee(sidecar: FakeSidecar, service: Service) -> None:
    sidecar.callees = {"air/fly": lambda _: Failure("no wings", "WINGS", [1])}

    @service.function
    async def caught(ctx: Context, _: None) -> object:
        with pytest.raises(FunctionFailed) as raised:
            await ctx.invoke("air/fly")
        return [raised.value.message, raised.value.code, raised.value.details]

    @service.function
    async def uncaught(ctx: Context, _: None) -> None:
        await ctx.invoke("air/fly")

    assert (await sidecar.run("caught")).output == ["no wings", "WINGS", [1]]
    failure = (await sidecar.run("uncaught")).failure
    assert failure is not None
    assert (failure.message, failure.code, failure.details.data) == ("no wings", "WINGS", b"[1]")


async def test_an_exception_is_a_crash_and_a_replay_follows(
    sidecar: FakeSidecar, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    @service.function
    async def flaky(ctx: Context, _: None) -> object:
        count = await ctx.update("t", "n", "found ? value + 1 : 1")
        if ctx.attempt == 1:
            raise RuntimeError("oh dear" + "!" * 10_000)
        return count

    @service.function
    def exits(ctx: ThreadContext, _: None) -> int:
        if ctx.attempt == 1:
            raise SystemExit(3)
        return ctx.attempt

    instance = await sidecar.begin("flaky")
    assert (await instance.done).output == 1
    (crash,) = instance.crashes
    assert crash.message.startswith("RuntimeError: oh dear!")
    assert len(crash.trace) <= 8192
    assert crash.trace.rstrip().endswith("!")
    assert "hotel/flaky i1 attempt 1 crashed" in caplog.text
    assert (await sidecar.run("exits")).output == 2


async def test_a_result_that_json_cannot_say_is_a_crash(sidecar: FakeSidecar, service: Service) -> None:
    @service.function
    async def odd(ctx: Context, _: None) -> object:
        return {1, 2} if ctx.attempt == 1 else "right"

    @service.function
    async def odd_failure(ctx: Context, _: None) -> object:
        if ctx.attempt == 1:
            raise ctx.failure("no", details=object())
        return "right"

    @service.function
    async def deep(ctx: Context, _: None) -> object:
        nested: list[object] = []
        for _ in range(100_000 if ctx.attempt == 1 else 0):
            nested = [nested]
        return nested or "right"

    said = {"odd": "JSON serializable", "odd_failure": "JSON serializable", "deep": "RecursionError"}
    for function, message in said.items():
        instance = await sidecar.begin(function)
        assert (await instance.done).output == "right"
        assert message in instance.crashes[0].message


async def test_a_crash_with_text_that_is_no_unicode(sidecar: FakeSidecar, service: Service) -> None:
    @service.function
    async def odd(ctx: Context, _: None) -> str:
        if ctx.attempt == 1:
            raise OSError("no such file: \udcff")
        return "right"

    instance = await sidecar.begin("odd")
    assert (await instance.done).output == "right"
    assert instance.crashes[0].message == "OSError: no such file: ?"


async def test_record_keeps_what_was_returned(sidecar: FakeSidecar, service: Service) -> None:
    runs: list[object] = []

    def pay(amount: int, token: str) -> object:
        runs.append((amount, token))
        return (amount, token)

    async def pay_async(amount: int) -> int:
        runs.append(amount)
        return amount

    @service.function
    async def in_a_task(ctx: Context, _: None) -> object:
        first = await ctx.record("pay", pay, 7)
        second = await ctx.record("pay too", functools.partial(pay_async, 8))
        third = await ctx.record("builtin", max, 1, 2)
        if ctx.attempt == 1:
            raise RuntimeError("once more")
        return [first, second, third]

    @service.function
    def in_a_thread(ctx: ThreadContext, _: None) -> object:
        result = ctx.record("pay", pay, 9)
        if ctx.attempt == 1:
            raise RuntimeError("once more")
        return result

    instance = await sidecar.begin("in_a_task")
    assert (await instance.done).output == [[7, "token-1"], 8, 2]
    assert instance.steps[:2] == ["1 begin_record", "1 end_record"]
    assert (await sidecar.run("in_a_thread")).output == [9, "token-1"]
    assert runs == [(7, "token-1"), 8, (9, "token-1")]


async def test_what_record_returns_is_what_a_replay_gets(sidecar: FakeSidecar, service: Service) -> None:
    seen: list[object] = []

    @service.function
    async def tuples(ctx: Context, _: None) -> None:
        seen.append(await ctx.record("t", lambda: (1, {2: 3})))
        if ctx.attempt == 1:
            raise RuntimeError("once more")

    await sidecar.run("tuples")
    assert seen == [[1, {"2": 3}], [1, {"2": 3}]]


async def test_record_keeps_a_failure_but_not_an_exception(sidecar: FakeSidecar, service: Service) -> None:
    runs: list[str] = []

    def declined() -> None:
        runs.append("declined")
        raise Failure("card declined", "DECLINED", {"left": 3})

    def flaky(ctx: Context) -> str:
        runs.append("flaky")
        if ctx.attempt == 1:
            raise OSError("gone")
        return "back"

    @service.function
    async def charge(ctx: Context, _: None) -> object:
        with pytest.raises(Failure) as raised:
            await ctx.record("charge", declined)
        return [raised.value.code, raised.value.details, await ctx.record("flaky", flaky, ctx)]

    assert (await sidecar.run("charge")).output == ["DECLINED", {"left": 3}, "back"]
    assert runs == ["declined", "flaky", "flaky"]


async def test_limits_are_checked_at_the_call(sidecar: FakeSidecar, service: Service) -> None:
    async def too_large(call: object) -> None:
        with pytest.raises(InvalidArgument) as raised:
            call()  # type: ignore[operator]
        assert raised.value.reason == "TOO_LARGE"

    @service.function
    async def big(ctx: Context, _: None) -> int:
        await too_large(lambda: ctx.write("t", "k", "x" * (256 << 10)))
        await too_large(lambda: ctx.write("t", "ü" * 513, 1))
        await too_large(lambda: ctx.invoke("own", "x" * (1 << 20)))
        ctx.write("t", "k", "x" * ((256 << 10) - 2))
        return len(await ctx.read("t", "k"))

    @service.function
    def big_result(ctx: ThreadContext, _: None) -> object:
        return "x" * (1 << 20) if ctx.attempt == 1 else "small"

    assert (await sidecar.run("big")).output == (256 << 10) - 2
    instance = await sidecar.begin("big_result")
    assert (await instance.done).output == "small"
    assert "TOO_LARGE" in instance.crashes[0].message


async def test_a_refused_step_raises_and_may_be_handled(sidecar: FakeSidecar, service: Service) -> None:
    refusal = Error(code=3, reason="BAD_EXPRESSION", message="unexpected end", metadata={"column": "8"})
    sidecar.refuse = {"cond_write": refusal}

    @service.function
    async def bad(ctx: Context, _: None) -> object:
        with pytest.raises(BeldiError) as raised:
            await ctx.cond_write("t", "k", 1, "value +")
        error = raised.value
        return [error.code, error.reason, error.message, error.metadata, str(error)]

    expected = ["INVALID_ARGUMENT", "BAD_EXPRESSION", "unexpected end", {"column": "8"}]
    assert (await sidecar.run("bad")).output == [*expected, "BAD_EXPRESSION: unexpected end"]


@pytest.mark.parametrize("further_step", [True, False])
async def test_a_refused_write_never_completes(sidecar: FakeSidecar, service: Service, further_step: bool) -> None:
    sidecar.refuse = {"write": Error(code=7, reason="FOREIGN_TABLE", message="not yours")}
    refused = asyncio.Event()
    told = asyncio.Event()

    @service.function
    async def write(ctx: Context, _: None) -> str:
        ctx.write("other/t", "k", 1)
        if ctx.attempt == 1:
            # The answer to the read is sent after the refusal, so that it has arrived with it.
            await ctx.read("t", "k")
            refused.set()
            if further_step:
                with pytest.raises(BeldiError, match="FOREIGN_TABLE"):
                    ctx.write("t", "k", 2)
                told.set()
        return "done"

    instance = await sidecar.begin("write")
    assert (await instance.done).output == "done"
    assert "FOREIGN_TABLE" in instance.crashes[0].message
    assert refused.is_set()
    assert told.is_set() == further_step


def test_two_functions_of_one_name_are_refused() -> None:
    service = Service("hotel")

    @service.function(name="reserve")
    async def one(ctx: Context, _: None) -> None: ...

    with pytest.raises(ValueError, match="two functions reserve"):
        service.function(name="reserve")(one)


async def test_an_unknown_function_is_a_crash(sidecar: FakeSidecar, service: Service) -> None:
    instance = await sidecar.begin("later")
    await instance.crashed.wait()

    @service.function
    async def later(ctx: Context, _: None) -> int:
        return ctx.attempt

    assert (await instance.done).output >= 2
    assert "has no function later" in instance.crashes[0].message
