"""The functions of clients/conformance/README.md, and its client mode (`app.py client`)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from beldi import BeldiError, Client, Context, Entry, Failure, InvalidArgument, NonDeterminism, Service, Started

SERVICE = os.environ.get("CONFORMANCE_SERVICE", "")
FILES = Path(os.environ.get("CONFORMANCE_DIR", "."))
INC = "found ? value + 1 : 1"

Input = dict[str, Any]


class Counter:
    """Counts the operations of one attempt over all its branches, and crashes after the one that the input names."""

    def __init__(self, attempt: int, crash: dict[str, Any]) -> None:
        self._how = crash.get("how") if crash.get("attempt") == attempt else None
        self._left = crash.get("after", 0)

    def count(self) -> None:
        self._left -= 1
        if self._left != 0 or self._how is None:
            return
        if self._how == "exit":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("conformance: asked to crash")


class Ctx:
    """The SDK's context with each operation counted."""

    def __init__(self, inner: Context, counter: Counter) -> None:
        self._inner = inner
        self._counter = counter
        self.attempt = inner.attempt

    async def _counted(self, operation: Awaitable[Any]) -> Any:
        try:
            result = await operation
        except NonDeterminism:
            raise
        except (Failure, BeldiError):
            self._counter.count()
            raise
        self._counter.count()
        return result

    # Plain functions, so that the SDK numbers the step at the call, as it does without the wrapper.

    def read(self, *args: Any) -> Awaitable[Any]:
        return self._counted(self._inner.read(*args))

    def write(self, *args: Any) -> Awaitable[None]:
        return self._counted(self._inner.write(*args))

    def delete(self, *args: Any) -> Awaitable[None]:
        return self._counted(self._inner.delete(*args))

    def cond_write(self, *args: Any) -> Awaitable[bool]:
        return self._counted(self._inner.cond_write(*args))

    def update(self, *args: Any, **options: Any) -> Awaitable[Any]:
        return self._counted(self._inner.update(*args, **options))

    def list(self, *args: Any, **options: Any) -> Awaitable[Any]:
        return self._counted(self._inner.list(*args, **options))

    async def scan(self, table: str, *, prefix: str, page: int) -> AsyncIterator[Entry]:
        # A page is one operation: it counts once its last entry has been taken.
        taken = 0
        async for entry in self._inner.scan(table, prefix, page=page):
            if taken and taken % page == 0:
                self._counter.count()
            taken += 1
            yield entry
        self._counter.count()

    def invoke(self, *args: Any) -> Awaitable[Any]:
        return self._counted(self._inner.invoke(*args))

    def start(self, *args: Any) -> Awaitable[Any]:
        return self._counted(self._inner.start(*args))

    def result(self, started: Started[Awaitable[Any]]) -> Awaitable[Any]:
        return self._counted(started.result())

    def await_(self, *args: Any) -> Awaitable[Any]:
        return self._counted(self._inner.await_(*args))

    def record(self, *args: Any) -> Awaitable[Any]:
        return self._counted(self._inner.record(*args))

    def now(self) -> Awaitable[Any]:
        return self._counted(self._inner.now())

    def random(self) -> Awaitable[Any]:
        return self._counted(self._inner.random())

    def uuid(self) -> Awaitable[Any]:
        return self._counted(self._inner.uuid())

    def gather(self, *branches: Callable[[Ctx], Awaitable[Any]]) -> Awaitable[Any]:
        def counted(branch: Callable[[Ctx], Awaitable[Any]]) -> Callable[[Context], Awaitable[Any]]:
            return lambda inner: branch(Ctx(inner, self._counter))

        return self._inner.gather(*map(counted, branches))


service = Service(SERVICE)


def scenario(name: str) -> Callable[[Callable[[Ctx, Input], Awaitable[Any]]], None]:
    def add(body: Callable[[Ctx, Input], Awaitable[Any]]) -> None:
        async def run(inner: Context, input: Input) -> Any:
            return await body(Ctx(inner, Counter(inner.attempt, input.get("crash") or {})), input)

        service.function(name=name)(run)

    return add


@service.function
async def echo(_: Context, input: Any) -> Any:
    return input


@service.function
async def about(ctx: Context, _: Any) -> Any:
    return {"service": ctx.service, "function": ctx.function, "instance": ctx.instance, "attempt": ctx.attempt}


@scenario("cells")
async def cells(ctx: Ctx, input: Input) -> Any:
    id = input["id"]
    before = await ctx.read("cells", id)
    await ctx.write("cells", id, input["value"])
    after = await ctx.read("cells", id)
    await ctx.delete("cells", id)
    deleted = await ctx.read("cells", id)
    await ctx.write("cells", id + "/kept", input["value"])
    return {"before": before, "after": after, "deleted": deleted}


@scenario("values")
async def values(ctx: Ctx, input: Input) -> Any:
    keys = [f"{input['id']}/{i}" for i in range(len(input["values"]))]
    for key, value in zip(keys, input["values"], strict=True):
        await ctx.write("values", key, value)
    return [await ctx.read("values", key) for key in keys]


@scenario("bytes")
async def some_bytes(ctx: Ctx, input: Input) -> bytes:
    await ctx.write("bytes", input["id"], bytes(i % 256 for i in range(input["size"])))
    data: bytes = await ctx.read("bytes", input["id"])
    return data


@scenario("cond")
async def cond(ctx: Ctx, input: Input) -> Any:
    id = input["id"]
    await ctx.write("cond", id, {"free": 1})
    return [
        await ctx.cond_write("cond", id, {"free": 0}, "value.free == 1"),
        await ctx.cond_write("cond", id, {"free": -1}, "value.free == 1"),
        await ctx.cond_write("cond", id + "/new", {"free": 7}, "!found"),
        await ctx.cond_write("cond", id + "/new", {"free": 8}, "new.free > value.free"),
    ]


@scenario("update")
async def update(ctx: Ctx, input: Input) -> Any:
    return [
        await ctx.update("counters", input["id"], INC),
        await ctx.update("counters", input["id"], "value + input", input=9007199254740992),
    ]


@scenario("add")
async def add(ctx: Ctx, input: Input) -> Any:
    return await ctx.update("counters", input["id"], "(found ? value : 0) + input", input=input["by"])


@scenario("list")
async def list_keys(ctx: Ctx, input: Input) -> Any:
    prefix = input["id"] + "/"
    for i in range(5):
        await ctx.write("lists", f"{prefix}{i}", {"n": i})
    pages, after = [], ""
    while True:
        entries, after = await ctx.list("lists", prefix=prefix, limit=2, after=after, values=True)
        pages.append(entries)
        if not after:
            break
    return {"pages": pages, "keys": [entry.key async for entry in ctx.scan("lists", prefix=prefix, page=2)]}


@scenario("invoke")
async def invoke(ctx: Ctx, input: Input) -> Any:
    id = input["id"]
    results = [
        await ctx.invoke("add", {"id": id + "/own", "by": 1}),
        await ctx.invoke(f"{SERVICE}/add", {"id": id + "/own", "by": 2}),
        await ctx.invoke((input["peer"], "add"), {"id": id + "/peer", "by": 5}),
    ]
    await ctx.write("invoked", id, results)
    return results


@scenario("start")
async def start(ctx: Ctx, input: Input) -> Any:
    x = await ctx.start("add", {"id": input["id"] + "/x", "by": 1})
    y = await ctx.start("add", {"id": input["id"] + "/y", "by": 10})
    b = await ctx.result(y)
    a = await ctx.result(x)
    return [a, b, await ctx.await_(x.instance)]


def append(id: str, token: str) -> None:
    with open(FILES / id.replace("/", "_"), "a") as file:
        file.write(token + "\n")


@scenario("record")
async def record(ctx: Ctx, input: Input) -> Any:
    def pay(token: str) -> Any:
        append(input["id"], token)
        return {"paid": 7, "token": token}

    await ctx.write("record", input["id"], "before")
    value = await ctx.record("pay", pay)
    applied = await ctx.cond_write("record", input["id"], value, "value == 'before'")
    return {"value": value, "applied": applied}


@scenario("recordFailure")
async def record_failure(ctx: Ctx, input: Input) -> Any:
    def charge(token: str) -> Any:
        append(input["id"], token)
        raise Failure("card declined", code="DECLINED", details={"left": 3})

    await ctx.write("record", input["id"], "before")
    failure = await failure_of(ctx.record("charge", charge))
    applied = await ctx.cond_write("record", input["id"], failure.code, "value == 'before'")
    return {"message": failure.message, "code": failure.code, "details": failure.details, "applied": applied}


@scenario("recordRaise")
async def record_raise(ctx: Ctx, input: Input) -> Any:
    def flaky(token: str) -> str:
        append(input["id"], token)
        if ctx.attempt == 1:
            raise RuntimeError("conformance: flaky")
        return "done"

    return await ctx.record("flaky", flaky)


@scenario("ambient")
async def ambient(ctx: Ctx, input: Input) -> Any:
    now, random, uuid, later = await ctx.now(), await ctx.random(), await ctx.uuid(), await ctx.now()
    value = {"now": text(now), "random": random, "uuid": uuid, "later": text(later)}
    await ctx.write("ambient", input["id"], value)
    await ctx.read("ambient", input["id"])
    return value


def text(time: Any) -> str:
    return str(time.isoformat(timespec="milliseconds")).replace("+00:00", "Z")


@scenario("branches")
async def branches(ctx: Ctx, input: Input) -> Any:
    id = input["id"]

    async def write_and_read(ctx: Ctx, key: str, value: Any) -> Any:
        await ctx.write("branches", key, value)
        return await ctx.read("branches", key)

    async def nested(ctx: Ctx) -> Any:
        p = await ctx.update("branches", id + "/1", INC)
        q, r = await ctx.gather(
            lambda c: c.update("branches", id + "/1/1", INC),
            lambda c: write_and_read(c, id + "/1/2", "x"),
        )
        return [p, q, r, await ctx.update("branches", id + "/1", INC)]

    await ctx.write("branches", id, "start")
    results = await ctx.gather(nested, lambda c: write_and_read(c, id + "/2", 2))
    await ctx.write("branches", id, "end")
    return results


@scenario("fan")
async def fan(ctx: Ctx, input: Input) -> Any:
    async def branch(ctx: Ctx, i: int) -> Any:
        delay = ((i * 7 + ctx.attempt * 3) % 8) * 0.005
        await asyncio.sleep(delay)
        await ctx.update("fan", f"{input['id']}/{i}", INC)
        await asyncio.sleep(delay)
        return await ctx.read("fan", f"{input['id']}/{i}")

    return await ctx.gather(*(lambda c, i=i: branch(c, i) for i in range(input["n"])))


@scenario("fanOut")
async def fan_out(ctx: Ctx, input: Input) -> Any:
    def branch(i: int) -> Callable[[Ctx], Awaitable[Any]]:
        return lambda c: c.invoke("add", {"id": f"{input['id']}/{i}", "by": i})

    return sum(await ctx.gather(*map(branch, range(input["n"]))))


@scenario("fail")
async def fail(ctx: Ctx, input: Input) -> Any:
    await ctx.write("fail", input["id"], "written")
    raise Failure("sold out", code="SOLD_OUT", details={"free": 0, "order": 9007199254740993})


@scenario("failCaught")
async def fail_caught(ctx: Ctx, input: Input) -> Any:
    id = input["id"]
    invoked = await failure_of(ctx.invoke("fail", {"id": id + "/callee"}))
    started = await failure_of(ctx.result(await ctx.start("fail", {"id": id + "/started"})))
    await ctx.write("fail", id, invoked.code)
    return {
        "message": invoked.message,
        "code": invoked.code,
        "details": invoked.details,
        "started": started.code,
        "cell": await ctx.read("fail", id),
    }


@scenario("failUncaught")
async def fail_uncaught(ctx: Ctx, input: Input) -> Any:
    return await ctx.invoke("fail", {"id": input["id"] + "/callee"})


@scenario("crash")
async def crash(ctx: Ctx, input: Input) -> Any:
    await ctx.update("crash", input["id"], INC)
    value = await ctx.read("crash", input["id"])
    if ctx.attempt <= input["times"]:
        raise RuntimeError("conformance: crash")
    return value


@scenario("limits")
async def limits(ctx: Ctx, input: Input) -> Any:
    def refused(call: Callable[[], object]) -> str:
        try:
            call()
        except InvalidArgument as error:
            return error.reason
        raise AssertionError("conformance: not refused")

    await ctx.write("limits", input["id"], "x" * 262142)
    return [
        refused(lambda: ctx.write("limits", input["id"], "x" * 262143)),
        refused(lambda: ctx.write("limits", "k" * 1025, 1)),
        refused(lambda: ctx.invoke("echo", "x" * 1048575)),
    ]


@scenario("badExpression")
async def bad_expression(ctx: Ctx, input: Input) -> Any:
    async def reason_of(operation: Awaitable[Any]) -> str:
        try:
            await operation
        except BeldiError as error:
            return error.reason
        raise AssertionError("conformance: not refused")

    id = input["id"]
    await ctx.write("expressions", id, "text")
    a = await reason_of(ctx.cond_write("expressions", id, 1, "value +"))
    b = await reason_of(ctx.update("expressions", id, "value + 1"))
    return [a, b, await ctx.read("expressions", id)]


@scenario("diverge")
async def diverge(ctx: Ctx, input: Input) -> Any:
    id = input["id"]
    how = "" if ctx.attempt == 1 else input["how"]
    if how == "operation":
        await ctx.now()
    elif how != "missing":
        await ctx.read("diverge", id + "/other" if how == "key" else id)
    await ctx.cond_write("diverge", id + "/1", 2 if how == "argument" else 1, "true")
    await ctx.update("diverge", id + "/2", INC)
    if ctx.attempt == 1:
        raise RuntimeError("conformance: diverge")
    return 0


stopped: dict[str, bool] = {}


@scenario("cancelled")
async def cancelled(ctx: Ctx, input: Input) -> Any:
    id = input["id"]
    await ctx.update("cancelled", id, INC)
    if ctx.attempt == 1:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            try:
                await ctx.read("cancelled", id)
            except asyncio.CancelledError:
                stopped[id] = True
            raise
    return {"value": await ctx.read("cancelled", id), "stopped": stopped.get(id, False)}


async def failure_of(operation: Awaitable[Any]) -> Failure:
    try:
        await operation
    except Failure as failure:
        return failure
    raise AssertionError("conformance: no failure")


async def client_mode() -> None:
    async with Client() as client:
        # Each line is answered before the next is read, so that a blocking read holds nothing up.
        for line in sys.stdin:
            print(json.dumps(await answer(client, json.loads(line))), flush=True)


async def answer(client: Client, line: dict[str, Any]) -> Any:
    key = line.get("key", "")
    try:
        if line["call"] == "invoke":
            return {"output": await client.invoke(line["target"], line.get("input"), key=key)}
        if line["call"] == "start":
            return {"instance": (await client.start(line["target"], line.get("input"), key=key)).instance}
        return {"output": await client.await_(line["instance"])}
    except Failure as failure:
        code = grpc.StatusCode.FAILED_PRECONDITION.value[0]
        said = {"message": failure.message, "code": failure.code, "details": failure.details}
        return {"error": {"code": code, "reason": "FUNCTION_FAILED", "message": failure.message, "failure": said}}
    except BeldiError as error:
        code = grpc.StatusCode[error.code].value[0]
        return {"error": {"code": code, "reason": error.reason, "message": error.message}}


if __name__ == "__main__":
    if sys.argv[1:] == ["client"]:
        asyncio.run(client_mode())
    else:
        service.run()
