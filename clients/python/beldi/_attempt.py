"""One attempt on one stream: pairs the answers with the calls that wait for them, and ends exactly once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import traceback
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from beldi import errors, values
from beldi._operations import Operation, Operations
from beldi._pb import worker_pb2 as pb

T = TypeVar("T")

log = logging.getLogger("beldi")

# What the contract cuts traces to, in bytes.
CRASH_LIMIT = 8 << 10

Waiting = asyncio.Future[T] | concurrent.futures.Future[T]


class Link(Protocol):
    """The stream, as an attempt sees it."""

    def put(self, step: pb.Step) -> None: ...
    def ended(self, attempt: Attempt) -> None: ...


class Names:
    """Hands out the step names of one branch: 1, 2, 3…; in branch i of a fork at step n, n/i.1, n/i.2…"""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._last = 0

    def next(self) -> str:
        self._last += 1
        return f"{self._prefix}{self._last}"


class Attempt:
    """All methods run on the event loop's thread, so that it needs no lock."""

    def __init__(self, message: pb.Attempt, limits: pb.Limits, link: Link) -> None:
        self.id = message.attempt
        self.instance = message.instance
        self.service = message.service
        self.function = message.function
        self.number = message.number
        self.traceparent = message.traceparent
        self.input = message.input
        self.operations = Operations(limits)
        # Set once the attempt is over, whoever ended it.
        self.over: errors.Cancelled | None = None
        self.task: asyncio.Task[None] | None = None
        self._refused: BaseException | None = None
        self._link = link
        self._waiting: dict[str, tuple[Callable[[pb.Answer], Any], Waiting[Any]]] = {}

    def __str__(self) -> str:
        return f"{self.service}/{self.function} {self.instance} attempt {self.number}"

    def call(self, name: str, operation: Operation[T], waiting: Waiting[T]) -> None:
        """Sends a step whose answer `waiting` gets."""
        self._check_open()
        self._waiting[name] = (operation.decode, waiting)
        self._put(name, operation.step)

    def send(self, name: str, step: pb.Step) -> None:
        """Sends a step that has no answer, unless the sidecar refuses it."""
        self._check_open()
        self._put(name, step)

    def answered(self, answer: pb.Answer) -> None:
        decode, waiting = self._waiting.pop(answer.step, (None, None))
        if decode is None or waiting is None:
            # Only a refusal answers a write. The function has moved on, so that its next step must tell it.
            self._refused = errors.from_answer(answer.error)
            return
        if waiting.done():
            return
        if answer.HasField("error"):
            waiting.set_exception(errors.from_answer(answer.error))
            return
        try:
            value = decode(answer)
        except Exception as error:
            waiting.set_exception(error)
        else:
            waiting.set_result(value)

    def completed(self, output: Any) -> None:
        """The function returned `output`."""
        if self.over is not None:
            return
        if self._refused is not None:
            self._crash(self._refused)
            return
        try:
            last = self.operations.complete(output)
        except Exception as error:
            self._crash(error)
        else:
            self._end(last)

    def raised(self, error: BaseException) -> None:
        """The function raised `error`, which decides how the attempt ends."""
        if self.over is not None:
            return
        if not isinstance(error, errors.Failure):
            self._crash(error)
            return
        try:
            last = self.operations.fail(error)
        except Exception as unsayable:
            self._crash(unsayable)
        else:
            self._end(last)

    def cancel(self, reason: errors.Cancelled) -> None:
        """The sidecar ended the attempt, or is gone."""
        if self._close(reason) and self.task is not None:
            self.task.cancel(str(reason))

    def _crash(self, error: BaseException) -> None:
        log.error("%s crashed", self, exc_info=error)
        message = "".join(traceback.format_exception_only(error)).strip()
        # Of the trace the end, where the innermost frames are: they tell most.
        trace = "".join(traceback.format_exception(error))
        crash = pb.Crash(message=_cut(message, slice(CRASH_LIMIT)), trace=_cut(trace, slice(-CRASH_LIMIT, None)))
        self._end(pb.Step(crash=crash))

    def _end(self, last: pb.Step) -> None:
        if self._close(errors.Cancelled("ABORTED", "", f"{self} has ended")):
            self._put("", last)

    def _close(self, reason: errors.Cancelled) -> bool:
        if self.over is not None:
            return False
        self.over = reason
        for _, waiting in self._waiting.values():
            if isinstance(waiting, asyncio.Future):
                # Not set_exception: asyncio complains of exceptions that nobody is left to retrieve.
                waiting.cancel(str(reason))
            elif not waiting.done():
                waiting.set_exception(reason)
        self._waiting.clear()
        self._link.ended(self)
        return True

    def _check_open(self) -> None:
        stopped = self.over or self._refused
        if stopped is not None:
            raise stopped

    def _put(self, name: str, step: pb.Step) -> None:
        step.attempt = self.id
        step.name = name
        self._link.put(step)

    def decoded_input(self) -> Any:
        return values.decode(self.input)


def _cut(text: str, part: slice) -> str:
    # Exceptions may hold lone surrogates (names of files), which no message can.
    return text.encode(errors="replace")[part].decode(errors="ignore")
