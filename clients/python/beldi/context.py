"""What a function is given: its state, its callees, the clock. `Context` for asyncio, `ThreadContext` for threads.

Steps are numbered in the order of the *calls*, not of the awaits, and a replay must make the same calls in the same
order. What runs in parallel and does more than one step therefore belongs into a branch of its own (`gather`).
"""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import contextlib
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from beldi import values
from beldi._attempt import Attempt, Names
from beldi._operations import Entry, Operation, Page, Recording, Started, Target
from beldi._pb.worker_pb2 import Step
from beldi.errors import Cancelled, Failure, failure_from_proto, failure_to_proto

T = TypeVar("T")


class _Accepted:
    """What `write` and `delete` return: awaiting it is allowed, and done at once."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


_ACCEPTED = _Accepted()


class _Common:
    """What both contexts know of their attempt."""

    def __init__(self, attempt: Attempt, names: Names) -> None:
        self._attempt = attempt
        self._operations = attempt.operations
        self._names = names
        self.log = logging.LoggerAdapter(
            logging.getLogger(f"beldi.{attempt.service}"),
            {"instance": attempt.instance, "attempt": attempt.number},
        )
        """A logger. Its records carry `instance` and `attempt`; a replay logs again."""

    @property
    def instance(self) -> str:
        """The id of the instance: the same in each attempt."""
        return self._attempt.instance

    @property
    def service(self) -> str:
        return self._attempt.service

    @property
    def function(self) -> str:
        return self._attempt.function

    @property
    def attempt(self) -> int:
        """1 in the first attempt. For logs: what depends on it differs between a run and its replay."""
        return self._attempt.number

    @property
    def traceparent(self) -> str:
        """The W3C trace context of the attempt's span; empty if it is not traced."""
        return self._attempt.traceparent

    def failure(self, message: str, code: str | None = None, details: Any = None) -> Failure:
        """An exception to raise: it ends the instance as failed, for good."""
        return Failure(message, code, details)

    def _name(self) -> str:
        return self._operations.name(self._names.next())


class Context(_Common):
    """The context of an `async def` function. Each method may raise `BeldiError`; `await` all but write and delete."""

    def read(self, table: str, key: str, default: Any = None) -> Awaitable[Any]:
        """The value of a key in a table of the function's own service; `default` if there is none."""
        return self._call(self._operations.read(table, key, default))

    def write(self, table: str, key: str, value: Any) -> Awaitable[None]:
        """Sets a value. It needs no `await`: it is applied, exactly once, before any later step observes."""
        return self._send(self._operations.write(table, key, value))

    def delete(self, table: str, key: str) -> Awaitable[None]:
        """Removes a key, like `write`."""
        return self._send(self._operations.delete(table, key))

    def cond_write(self, table: str, key: str, value: Any, condition: str) -> Awaitable[bool]:
        """Sets a value if a CEL condition holds, and says whether it did.

        The condition sees `value` (the stored one; null if absent), `found` and `new`.
        """
        return self._call(self._operations.cond_write(table, key, value, condition))

    def update(self, table: str, key: str, expression: str, input: Any = None) -> Awaitable[Any]:
        """Sets a value to that of a CEL expression over `value` (null if absent), `found` and `input`.

        Gives the new value, or None if that is over 1 KiB: read it then.
        """
        return self._call(self._operations.update(table, key, expression, input))

    def list(
        self, table: str, prefix: str = "", limit: int = 100, after: str = "", values: bool = False
    ) -> Awaitable[Page]:
        """One page of keys, in byte order, at most `limit` (up to 1000): an observation, no snapshot."""
        return self._call(self._operations.list(table, prefix, limit, after, values))

    async def scan(self, table: str, prefix: str = "", values: bool = False, page: int = 100) -> AsyncIterator[Entry]:
        """All entries, page by page: `async for key, value in ctx.scan("rooms", values=True)`."""
        after = ""
        while True:
            entries, after = await self.list(table, prefix, page, after, values)
            for entry in entries:
                yield entry
            if not after:
                return

    def invoke(self, target: Target, input: Any = None) -> Awaitable[Any]:
        """Runs another function exactly once and gives its result; `FunctionFailed` if it failed for good.

        `target`: "service/function", ("service", "function"), or "function" of one's own service.
        """
        return self._call(self._operations.invoke(target, input))

    def start(self, target: Target, input: Any = None) -> Awaitable[Started[Awaitable[Any]]]:
        """Starts another function exactly once, without waiting: `await (await ctx.start(…)).result()` waits later."""
        return self._call(self._operations.start(target, input, self.await_))

    def await_(self, instance: str) -> Awaitable[Any]:
        """Waits for the result of an instance that was started."""
        return self._call(self._operations.await_(instance))

    def record(self, name: str, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        """Runs outside code – plain or async – and keeps what it returned: replays get that and do not run it.

        It may run again if the process dies before its result is kept. If `fn` has a parameter named `token`, it
        gets a string that is the same for each run of this step, and for no other step: an idempotency key for the
        world outside. A `Failure` that it raises is kept, too; any other exception is not.
        """
        step = self._name()
        return self._record(step, self._call(self._operations.begin_record(name), step), fn, args)

    async def _record(
        self, step: str, begun: Awaitable[Recording], fn: Callable[..., Any], args: tuple[Any, ...]
    ) -> Any:
        recording = await begun
        if recording.recorded:
            return recording.outcome()
        try:
            result = _run(fn, args, recording.token)
            if inspect.isawaitable(result):
                result = await result
        except Failure as failure:
            end, outcome = _recorded_failure(self._attempt, failure)
        else:
            end, outcome = _recorded_value(self._attempt, result)
        self._attempt.send(step, end)
        return outcome.outcome()

    def now(self) -> Awaitable[datetime]:
        """The time, in UTC: of the first attempt that asked."""
        return self._call(self._operations.now())

    def random(self) -> Awaitable[float]:
        """A random number in [0, 1)."""
        return self._call(self._operations.random())

    def uuid(self) -> Awaitable[str]:
        """A random UUID."""
        return self._call(self._operations.uuid())

    def gather(self, *branches: Callable[[Context], Awaitable[T]]) -> Awaitable[builtins.list[T]]:
        """Runs branches in parallel, each with a context of its own, and gives their results in order.

        If branches raise, the exception of the first *of the list* is raised, once all have ended: which of them was
        first in time differs between a run and its replay.
        """
        fork = self._name()
        tasks = [
            asyncio.ensure_future(branch(Context(self._attempt, Names(f"{fork}/{number}."))))
            for number, branch in enumerate(branches, 1)
        ]
        return self._join(tasks)

    async def _join(self, tasks: Sequence[asyncio.Future[T]]) -> builtins.list[T]:
        await asyncio.gather(*tasks, return_exceptions=True)
        return [task.result() for task in tasks]

    def _call(self, operation: Operation[T], name: str | None = None) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._attempt.call(name or self._name(), operation, future)
        return future

    def _send(self, step: Step) -> Awaitable[None]:
        self._attempt.send(self._name(), step)
        return _ACCEPTED


class ThreadContext(_Common):
    """The context of a plain `def` function, which runs in a thread: as `Context`, but each method waits."""

    def __init__(self, attempt: Attempt, names: Names, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(attempt, names)
        self._loop = loop

    def read(self, table: str, key: str, default: Any = None) -> Any:
        return self._call(self._operations.read(table, key, default))

    def write(self, table: str, key: str, value: Any) -> None:
        """Sets a value, without waiting: it is applied, exactly once, before any later step observes."""
        self._send(self._name(), self._operations.write(table, key, value))

    def delete(self, table: str, key: str) -> None:
        self._send(self._name(), self._operations.delete(table, key))

    def cond_write(self, table: str, key: str, value: Any, condition: str) -> bool:
        return self._call(self._operations.cond_write(table, key, value, condition))

    def update(self, table: str, key: str, expression: str, input: Any = None) -> Any:
        return self._call(self._operations.update(table, key, expression, input))

    def list(self, table: str, prefix: str = "", limit: int = 100, after: str = "", values: bool = False) -> Page:
        return self._call(self._operations.list(table, prefix, limit, after, values))

    def scan(self, table: str, prefix: str = "", values: bool = False, page: int = 100) -> Iterator[Entry]:
        after = ""
        while True:
            entries, after = self.list(table, prefix, page, after, values)
            yield from entries
            if not after:
                return

    def invoke(self, target: Target, input: Any = None) -> Any:
        return self._call(self._operations.invoke(target, input))

    def start(self, target: Target, input: Any = None) -> Started[Any]:
        return self._call(self._operations.start(target, input, self.await_))

    def await_(self, instance: str) -> Any:
        return self._call(self._operations.await_(instance))

    def record(self, name: str, fn: Callable[..., Any], *args: Any) -> Any:
        step = self._name()
        recording = self._call(self._operations.begin_record(name), step)
        if recording.recorded:
            return recording.outcome()
        try:
            result = _run(fn, args, recording.token)
        except Failure as failure:
            end, outcome = _recorded_failure(self._attempt, failure)
        else:
            end, outcome = _recorded_value(self._attempt, result)
        self._send(step, end)
        return outcome.outcome()

    def now(self) -> datetime:
        return self._call(self._operations.now())

    def random(self) -> float:
        return self._call(self._operations.random())

    def uuid(self) -> str:
        return self._call(self._operations.uuid())

    def gather(self, *branches: Callable[[ThreadContext], T]) -> builtins.list[T]:
        """As `Context.gather`; each branch runs in a thread of its own."""
        fork = self._name()
        results: builtins.list[concurrent.futures.Future[T]] = []
        for number, branch in enumerate(branches, 1):
            ctx = ThreadContext(self._attempt, Names(f"{fork}/{number}."), self._loop)
            results.append(run_in_thread(f"{self._attempt} {fork}/{number}", branch, ctx))
        concurrent.futures.wait(results)
        return [result.result() for result in results]

    def _call(self, operation: Operation[T], name: str | None = None) -> T:
        name = name or self._name()
        waiting: concurrent.futures.Future[T] = concurrent.futures.Future()

        def ask() -> None:
            try:
                self._attempt.call(name, operation, waiting)
            except (Exception, Cancelled) as stopped:
                waiting.set_exception(stopped)

        self._on_loop(ask)
        return waiting.result()

    def _send(self, name: str, step: Step) -> None:
        # This look at `over` may come too early. Then the next step raises it.
        if self._attempt.over is not None:
            raise self._attempt.over

        def tell() -> None:
            with contextlib.suppress(Exception, Cancelled):
                self._attempt.send(name, step)

        self._on_loop(tell)

    def _on_loop(self, fn: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(fn)
        except RuntimeError:
            raise Cancelled("UNAVAILABLE", "", "the worker has stopped") from None


def run_in_thread(name: str, fn: Callable[..., T], *args: Any) -> concurrent.futures.Future[T]:
    """A thread for each run. A pool would deadlock: branches would wait for threads that their parents hold.

    Daemons, so that a function stuck in outside code does not keep the process from ending.
    """
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            result = fn(*args)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _run(fn: Callable[..., Any], args: tuple[Any, ...], token: str) -> Any:
    try:
        takes_token = "token" in inspect.signature(fn).parameters
    except ValueError:  # some builtins have no signature
        takes_token = False
    return fn(*args, token=token) if takes_token else fn(*args)


def _recorded_value(attempt: Attempt, result: Any) -> tuple[Step, Recording]:
    # The function goes on with what a replay will see: a tuple has become a list.
    payload = attempt.operations.recorded(result)
    return attempt.operations.end_record(payload, None), Recording(True, values.decode(payload), None, "")


def _recorded_failure(attempt: Attempt, failure: Failure) -> tuple[Step, Recording]:
    message = failure_to_proto(failure)
    return attempt.operations.end_record(None, message), Recording(True, None, failure_from_proto(message), "")
