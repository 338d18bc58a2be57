"""One connection to the sidecar: the worker stream, from Hello to its end."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc

from beldi import _trace, errors
from beldi._attempt import Attempt, Names
from beldi._pb import worker_pb2 as pb
from beldi._pb.worker_pb2_grpc import WorkersStub
from beldi.context import Context, ThreadContext, run_in_thread

log = logging.getLogger("beldi")

# gRPC servers take messages up to 4 MiB unless told otherwise, and one step may hold 1 MiB.
BATCH_BYTES = 2 << 20

# How long the sidecar may take to end the stream after the worker has.
CLOSE_SECONDS = 1.0

Function = Callable[..., Any]


class Stream:
    """Runs the attempts that one stream brings. They end with it: the sidecar starts them again elsewhere."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        metadata: Sequence[tuple[str, str]],
        hello: pb.Hello,
        functions: Mapping[str, Function],
        ready: asyncio.Event,
    ) -> None:
        self.welcomed = False
        self._hello = hello
        self._functions = functions
        self._ready = ready
        self._limits = pb.Limits()
        self._attempts: dict[int, Attempt] = {}
        self._outbox: list[pb.Step] = []
        self._greeting: pb.Hello | None = hello
        self._wake = asyncio.Event()
        self._wake.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._call = WorkersStub(channel).Work(metadata=metadata)

    async def run(self, stop: asyncio.Event, grace: float) -> None:
        """Returns once `stop` is set and the running attempts have ended, or `grace` seconds after it, or when the
        sidecar ends the stream. Raises AioRpcError when the stream breaks."""
        reader = asyncio.create_task(self._read())
        tasks = [reader, asyncio.create_task(self._write()), asyncio.create_task(self._drain(stop, grace))]
        try:
            await asyncio.wait((reader, tasks[2]), return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
        finally:
            for task in tasks:
                task.cancel()
            self._call.cancel()
            self._cancel_all("the stream to the sidecar ended")
            await asyncio.gather(*tasks, return_exceptions=True)

    def put(self, step: pb.Step) -> None:
        """Queues a step. All that is queued in one turn of the event loop leaves in one message."""
        self._outbox.append(step)
        self._wake.set()

    def ended(self, attempt: Attempt) -> None:
        del self._attempts[attempt.id]
        if not self._attempts:
            self._idle.set()

    async def _write(self) -> None:
        # The reader sees a broken stream, too, and with the status that says why.
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._greeting or self._outbox:
                    await self._call.write(self._next_message())
                if self._closing:
                    await self._call.done_writing()
                    return
        except (grpc.RpcError, asyncio.InvalidStateError):
            return

    def _next_message(self) -> pb.FromWorker:
        count, size = 0, 0
        for step in self._outbox:
            size += step.ByteSize()
            if count and size > BATCH_BYTES:
                break
            count += 1
        message = pb.FromWorker(hello=self._greeting, steps=self._outbox[:count])
        del self._outbox[:count]
        self._greeting = None
        return message

    async def _read(self) -> None:
        while True:
            message = await self._call.read()
            if message is grpc.aio.EOF:
                return
            self._receive(message)

    def _receive(self, message: pb.ToWorker) -> None:
        if message.HasField("welcome"):
            self.welcomed = True
            self._ready.set()
            self._limits = message.welcome.limits
            log.info("serving %s; sidecar %s", self._hello.service, message.welcome.version)
        for cancel in message.cancels:
            self._cancel(cancel)
        for answer in message.answers:
            attempt = self._attempts.get(answer.attempt)
            # None: the attempt ended while the answer was on its way.
            if attempt is not None:
                attempt.answered(answer)
        for new in message.attempts:
            self._begin(Attempt(new, self._limits, self))

    def _cancel(self, cancel: pb.Cancel) -> None:
        attempt = self._attempts.get(cancel.attempt)
        if attempt is None:
            return
        reason = errors.from_cancel(cancel.error)
        level = logging.ERROR if reason.reason == "NON_DETERMINISM" else logging.INFO
        log.log(level, "%s is over: %s: %s", attempt, reason.reason or reason.code, reason.message)
        attempt.cancel(reason)

    def _cancel_all(self, why: str) -> None:
        for attempt in list(self._attempts.values()):
            attempt.cancel(errors.Cancelled("UNAVAILABLE", "", why))

    def _begin(self, attempt: Attempt) -> None:
        self._attempts[attempt.id] = attempt
        self._idle.clear()
        function = self._functions.get(attempt.function)
        if function is None:
            attempt.raised(LookupError(f"service {attempt.service} has no function {attempt.function}"))
        elif is_async(function):
            attempt.task = asyncio.create_task(_run_async(function, attempt))
        else:
            _start_thread(function, attempt)

    async def _drain(self, stop: asyncio.Event, grace: float) -> None:
        await stop.wait()
        self._greeting = pb.Hello()
        self._greeting.CopyFrom(self._hello)
        self._greeting.draining = True
        self._wake.set()
        try:
            await asyncio.wait_for(self._idle.wait(), grace)
        except asyncio.TimeoutError:
            log.warning("%d attempts did not end within %g s; they will run again", len(self._attempts), grace)
            self._cancel_all("the worker stops")
        self._closing = True
        self._wake.set()
        # The reader ends first if all is well: the sidecar answers the end of the stream with its own.
        await asyncio.sleep(CLOSE_SECONDS)


def is_async(function: Function) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async is meant
    )


async def _run_async(function: Function, attempt: Attempt) -> None:
    with _trace.current(attempt.traceparent):
        try:
            output = await function(Context(attempt, Names()), attempt.decoded_input())
        except BaseException as error:
            # Of any kind: sys.exit in a function ends an attempt, not the worker.
            attempt.raised(error)
        else:
            attempt.completed(output)


def _start_thread(function: Function, attempt: Attempt) -> None:
    loop = asyncio.get_running_loop()

    def run() -> Any:
        with _trace.current(attempt.traceparent):
            return function(ThreadContext(attempt, Names(), loop), attempt.decoded_input())

    outcome = asyncio.wrap_future(run_in_thread(str(attempt), run))
    outcome.add_done_callback(lambda done: _ended(attempt, done))


def _ended(attempt: Attempt, outcome: asyncio.Future[Any]) -> None:
    error = outcome.exception()
    if error is not None:
        attempt.raised(error)
    else:
        attempt.completed(outcome.result())
