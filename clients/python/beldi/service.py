"""A service and its functions, and the worker that serves them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar, overload

import grpc

from beldi import _address
from beldi._pb import worker_pb2 as pb
from beldi._stream import Function, Stream
from beldi._version import __version__
from beldi.errors import from_rpc

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger("beldi")

# Seconds that running attempts get to end once the worker is told to stop.
GRACE_SECONDS = 10.0

BACKOFF_FIRST, BACKOFF_MOST = 0.05, 1.0

# What waiting does not cure: the sidecar is there and says no.
_REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


class Service:
    """Functions under one name, with tables that only they touch.

    `concurrency`: how many attempts this process takes at once; 0: no limit. A function that invokes another one of
    the same service holds its place while it waits.
    """

    def __init__(self, name: str, *, concurrency: int = 0) -> None:
        self.name = name
        self.concurrency = concurrency
        self._functions: dict[str, Function] = {}

    @overload
    def function(self, fn: F) -> F: ...
    @overload
    def function(self, *, name: str) -> Callable[[F], F]: ...
    def function(self, fn: F | None = None, *, name: str | None = None) -> F | Callable[[F], F]:
        """Adds a function: `fn(ctx, input)`, its result the value it returns; a decorator.

        An `async def` gets a `Context`, a plain `def` a `ThreadContext` and a thread to run in.
        """

        def add(fn: F) -> F:
            key = name or fn.__name__
            if key in self._functions:
                raise ValueError(f"service {self.name} has two functions {key}")
            self._functions[key] = fn
            return fn

        return add if fn is None else add(fn)

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT; see `beldi.run`."""
        run(self)

    async def serve(self, stop: asyncio.Event | None = None, *, grace: float = GRACE_SECONDS) -> None:
        """Serves in a running event loop until `stop` is set; running attempts then have `grace` seconds to end.

        Connects again whenever the stream to the sidecar ends. Raises BeldiError if the sidecar refuses the service.
        """
        await self._serve(stop or asyncio.Event(), grace, asyncio.Event())

    @contextlib.asynccontextmanager
    async def serving(self, *, grace: float = GRACE_SECONDS) -> AsyncIterator[None]:
        """Serves while the block runs, which it enters once the sidecar knows the functions: for tests."""
        stop, ready = asyncio.Event(), asyncio.Event()
        served = asyncio.create_task(self._serve(stop, grace, ready))
        entered = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait((served, entered), return_when=asyncio.FIRST_COMPLETED)
            if ready.is_set():
                yield
        finally:
            entered.cancel()
            stop.set()
            await served

    async def _serve(self, stop: asyncio.Event, grace: float, ready: asyncio.Event) -> None:
        hello = pb.Hello(
            service=self.name,
            functions=list(self._functions),
            sdk=f"python/{__version__}",
            concurrency=self.concurrency,
        )
        delay, complained = BACKOFF_FIRST, False
        while not stop.is_set():
            address = _address.resolve()
            async with grpc.aio.insecure_channel(address, options=_address.CHANNEL_OPTIONS) as channel:
                stream = Stream(channel, _address.credentials(), hello, self._functions, ready)
                try:
                    await stream.run(stop, grace)
                    problem = "the sidecar ended the stream"
                except grpc.aio.AioRpcError as error:
                    if error.code() in _REFUSALS:
                        raise from_rpc(error, f"serve {self.name} at {address}") from error
                    problem = error.details() or error.code().name
            if stream.welcomed:
                delay, complained = BACKOFF_FIRST, False
            if not complained and not stop.is_set():
                _complain(stream.welcomed, address, problem)
                complained = True
            # Jitter, so that the workers of a sidecar that comes back do not all come at once.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), delay * random.uniform(0.5, 1))
            delay = min(delay * 2, BACKOFF_MOST)


def run(*services: Service) -> None:
    """Serves until SIGTERM or SIGINT, then lets running attempts end for up to 10 s. A second signal ends at once."""
    asyncio.run(_run(services))


async def _run(services: tuple[Service, ...]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def on_signal() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    # Windows has no such handlers; there Ctrl-C ends the process without a drain.
    if threading.current_thread() is threading.main_thread() and sys.platform != "win32":
        for number in signals:
            loop.add_signal_handler(number, on_signal)
    await asyncio.gather(*(service.serve(stop) for service in services))


def _complain(connected: bool, address: str, problem: str) -> None:
    if connected:
        log.warning("lost the sidecar at %s (%s); connecting again", address, problem)
    else:
        log.warning(
            "no sidecar at %s (%s); start one with `beldi run`, or set BELDI_ADDRESS; trying on",
            address,
            problem,
        )
