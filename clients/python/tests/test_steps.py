"""How steps are named and sent: the numbers are those of the calls, whatever the event loop does."""

from __future__ import annotations

import asyncio
import threading

import pytest
from fake_sidecar import FakeSidecar

from beldi import Context, Failure, InvalidArgument, Service, ThreadContext
from beldi._pb import worker_pb2 as pb
from beldi._stream import BATCH_BYTES


async def test_steps_are_numbered_by_call(sidecar: FakeSidecar, service: Service) -> None:
    @service.function
    async def out_of_order(ctx: Context, _: None) -> None:
        second = ctx.read("t", "a"), ctx.now()
        ctx.write("t", "b", 1)
        await asyncio.gather(ctx.read("t", "c"), ctx.record("d", lambda: None), ctx.write("t", "e", 1))
        await second[1]
        await second[0]

    instance = await sidecar.begin("out_of_order")
    await instance.done
    assert instance.steps == [
        "1 read",
        "2 now",
        "3 write",
        "4 read",
        "5 begin_record",
        "6 write",
        "5 end_record",
    ]


async def test_branches_number_their_own_steps(sidecar: FakeSidecar, service: Service) -> None:
    async def branch(ctx: Context) -> str:
        ctx.write("t", "k", 1)
        inner = await ctx.gather(lambda c: c.read("t", "k"), lambda c: c.uuid())
        assert inner[0] == 1
        await ctx.read("t", "k")
        return "outer"

    @service.function
    async def fork(ctx: Context, _: None) -> object:
        ctx.write("t", "k", 1)
        results = await ctx.gather(branch, lambda c: c.random())
        await ctx.gather()
        ctx.write("t", "k", 1)
        return results

    instance = await sidecar.begin("fork")
    assert (await instance.done).output == ["outer", 0.25]
    assert sorted(instance.steps) == FORKED


async def test_branches_in_threads_number_their_own_steps(sidecar: FakeSidecar, service: Service) -> None:
    def branch(ctx: ThreadContext) -> str:
        ctx.write("t", "k", 1)
        inner = ctx.gather(lambda c: c.read("t", "k"), lambda c: c.uuid())
        assert inner[0] == 1
        ctx.read("t", "k")
        return "outer"

    @service.function
    def fork(ctx: ThreadContext, _: None) -> object:
        ctx.write("t", "k", 1)
        results = ctx.gather(branch, lambda c: c.random())
        ctx.gather()
        ctx.write("t", "k", 1)
        return results

    instance = await sidecar.begin("fork")
    assert (await instance.done).output == ["outer", 0.25]
    assert sorted(instance.steps) == FORKED


FORKED = [
    "1 write",
    "2/1.1 write",
    "2/1.2/1.1 read",
    "2/1.2/2.1 uuid",
    "2/1.3 read",
    "2/2.1 random",
    "4 write",
]


async def test_the_first_failed_branch_of_the_list_is_raised(sidecar: FakeSidecar, service: Service) -> None:
    async def late(ctx: Context) -> None:
        await ctx.read("t", "k")
        raise Failure("late, and first of the list")

    async def early(ctx: Context) -> None:
        raise Failure("early")

    def late_plain(ctx: ThreadContext) -> None:
        ctx.read("t", "k")
        raise Failure("late, and first of the list")

    def early_plain(ctx: ThreadContext) -> None:
        raise Failure("early")

    @service.function
    async def in_a_task(ctx: Context, _: None) -> None:
        await ctx.gather(late, early)

    @service.function
    def in_a_thread(ctx: ThreadContext, _: None) -> None:
        ctx.gather(late_plain, early_plain)

    for function in ("in_a_task", "in_a_thread"):
        failure = (await sidecar.run(function)).failure
        assert failure is not None
        assert failure.message == "late, and first of the list"


async def test_more_branches_than_any_pool_has_threads(sidecar: FakeSidecar, service: Service) -> None:
    def wide(depth: int, ctx: ThreadContext) -> int:
        if depth == 0:
            return len(ctx.uuid()) // 36
        return sum(ctx.gather(*[lambda c: wide(depth - 1, c)] * 4))

    @service.function
    def fork(ctx: ThreadContext, _: None) -> int:
        return wide(3, ctx)

    assert (await sidecar.run("fork")).output == 64


async def test_a_step_name_over_the_limit_is_refused(sidecar: FakeSidecar, service: Service) -> None:
    async def deeper(ctx: Context) -> None:
        await ctx.gather(deeper)

    @service.function
    async def deep(ctx: Context, _: None) -> str:
        with pytest.raises(InvalidArgument, match="step name of 257 bytes is over the limit of 256 bytes"):
            await ctx.gather(deeper)
        return "caught"

    assert (await sidecar.run("deep")).output == "caught"


async def test_what_is_ready_together_leaves_in_one_message(sidecar: FakeSidecar, service: Service) -> None:
    @service.function
    async def writes(ctx: Context, _: None) -> None:
        for number in range(10):
            await ctx.write("t", f"{number}", number)
        await asyncio.gather(ctx.read("t", "1"), ctx.read("t", "2"))

    await sidecar.run("writes")
    assert batches(sidecar) == [12, 1]


async def test_attempts_share_messages(sidecar: FakeSidecar, service: Service) -> None:
    gate = asyncio.Event()
    waiting: list[str] = []

    @service.function
    async def gated(ctx: Context, _: None) -> None:
        waiting.append(ctx.instance)
        if len(waiting) == 3:
            gate.set()
        await gate.wait()
        await ctx.read("t", "k")

    for instance in [await sidecar.begin("gated") for _ in range(3)]:
        await instance.done
    assert batches(sidecar)[0] == 3


async def test_a_batch_stays_below_what_servers_take(sidecar: FakeSidecar, service: Service) -> None:
    @service.function
    async def writes(ctx: Context, _: None) -> int:
        for number in range(20):
            await ctx.write("t", f"{number}", "x" * (250 << 10))
        return len(await ctx.read("t", "19"))

    assert (await sidecar.run("writes")).output == 250 << 10
    sizes = [message.ByteSize() for message in sidecar.connections[0].received]
    assert max(sizes) < BATCH_BYTES + 100
    assert sum(batches(sidecar)) == 22


async def test_a_step_of_an_attempt_that_has_ended_is_refused(sidecar: FakeSidecar, service: Service) -> None:
    kept: list[Context] = []

    @service.function
    async def leak(ctx: Context, _: None) -> None:
        kept.append(ctx)

    await sidecar.run("leak")
    with pytest.raises(asyncio.CancelledError, match="has ended"):
        kept[0].write("t", "k", 1)


async def test_threads_do_not_hold_each_other_up(sidecar: FakeSidecar, service: Service) -> None:
    together = threading.Barrier(8)

    @service.function
    def meet(ctx: ThreadContext, _: None) -> int:
        together.wait()
        return ctx.update("t", "n", "found ? value + 1 : 1")  # type: ignore[no-any-return]

    instances = [await sidecar.begin("meet") for _ in range(8)]
    assert sorted([(await instance.done).output for instance in instances]) == list(range(1, 9))


def batches(sidecar: FakeSidecar) -> list[int]:
    def steps(message: pb.FromWorker) -> int:
        return len(message.steps)

    return [count for count in map(steps, sidecar.connections[0].received) if count]
