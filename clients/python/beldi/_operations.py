"""Operations as messages: how each is asked, checked and answered. Both contexts share it; no I/O here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Generic, NamedTuple, TypeVar

from beldi import values
from beldi._pb import steps_pb2 as steps
from beldi._pb import types_pb2 as types
from beldi._pb.worker_pb2 import Answer, Limits, Step
from beldi.errors import Failure, InvalidArgument, failure_from_proto, failure_to_proto

T = TypeVar("T")
R = TypeVar("R")

Target = str | tuple[str, str]
"""A function: "service/function", ("service", "function"), or "function" of one's own service."""


class Entry(NamedTuple):
    """A key in a table, with its value if values were asked for."""

    key: str
    value: Any = None


class Page(NamedTuple):
    """Entries in byte order of their keys. `next` is the `after` of the next page, empty after the last one."""

    entries: Sequence[Entry]
    next: str


@dataclass(frozen=True)
class Started(Generic[R]):
    """A function that was started. `result` waits for its result as `await_` with its instance does."""

    instance: str
    _await: Callable[[str], R]

    def result(self) -> R:
        return self._await(self.instance)


@dataclass(frozen=True)
class Recording:
    """What the sidecar says before outside code runs: the outcome if it has one, else the token for the code."""

    recorded: bool
    value: Any
    failure: Failure | None
    token: str

    def outcome(self) -> Any:
        if self.failure is not None:
            raise self.failure
        return self.value


@dataclass(frozen=True)
class Operation(Generic[T]):
    step: Step
    decode: Callable[[Answer], T]


def split_target(target: Target) -> tuple[str, str]:
    """Service and function; the service is empty if the target names none."""
    service, function = target if isinstance(target, tuple) else _split(target)
    if not function:
        raise InvalidArgument("MALFORMED", f"target {target!r} names no function")
    return service, function


def _split(target: str) -> tuple[str, str]:
    service, slash, function = target.partition("/")
    return (service, function) if slash else ("", service)


class Operations:
    """Builds operations within the sidecar's limits (bytes; 0: none stated).

    The limits are checked here and not only by the sidecar, so that a write, which has no answer, fails at its line.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def read(self, table: str, key: str, default: Any) -> Operation[Any]:
        request = steps.ReadRequest(table=table, key=self._key(key))

        def decode(answer: Answer) -> Any:
            return values.decode(answer.read.value) if answer.read.found else default

        return Operation(Step(read=request), decode)

    def write(self, table: str, key: str, value: Any) -> Step:
        return Step(write=steps.WriteRequest(table=table, key=self._key(key), value=self._value(value)))

    def delete(self, table: str, key: str) -> Step:
        return Step(delete=steps.DeleteRequest(table=table, key=self._key(key)))

    def cond_write(self, table: str, key: str, value: Any, condition: str) -> Operation[bool]:
        request = steps.CondWriteRequest(table=table, key=self._key(key), value=self._value(value), condition=condition)
        return Operation(Step(cond_write=request), lambda answer: answer.cond_write.applied)

    def update(self, table: str, key: str, expression: str, input: Any) -> Operation[Any]:
        request = steps.UpdateRequest(table=table, key=self._key(key), expression=expression)
        if input is not None:
            request.input.CopyFrom(self._value(input))
        return Operation(Step(update=request), lambda answer: values.decode(answer.update.value))

    def list(self, table: str, prefix: str, limit: int, after: str, values: bool) -> Operation[Page]:
        request = steps.ListRequest(table=table, prefix=prefix, limit=limit, after=after, values=values)
        return Operation(Step(list=request), lambda answer: _page(answer.list))

    def invoke(self, target: Target, input: Any) -> Operation[Any]:
        request = steps.InvokeStep(target=_ref(target), input=self.input(input))
        return Operation(Step(invoke=request), lambda answer: values.decode(answer.invoke.output))

    def start(self, target: Target, input: Any, wait: Callable[[str], R]) -> Operation[Started[R]]:
        request = steps.StartStep(target=_ref(target), input=self.input(input))
        return Operation(Step(start=request), lambda answer: Started(answer.start.instance, wait))

    def await_(self, instance: str) -> Operation[Any]:
        step = Step()
        # `await` is a keyword of Python, and the field's name is fixed.
        getattr(step, "await").CopyFrom(steps.AwaitStep(instance=instance))
        return Operation(step, lambda answer: values.decode(getattr(answer, "await").output))

    def begin_record(self, name: str) -> Operation[Recording]:
        return Operation(
            Step(begin_record=steps.BeginRecordRequest(name=name)),
            lambda answer: _recording(answer.begin_record),
        )

    def end_record(self, value: types.Payload | None, failure: types.Failure | None) -> Step:
        return Step(end_record=steps.EndRecordRequest(value=value, failure=failure))

    def now(self) -> Operation[datetime]:
        return Operation(Step(now=steps.NowRequest()), lambda answer: answer.now.time.ToDatetime(tzinfo=timezone.utc))

    def random(self) -> Operation[float]:
        return Operation(Step(random=steps.RandomRequest()), lambda answer: answer.random.value)

    def uuid(self) -> Operation[str]:
        return Operation(Step(uuid=steps.UuidRequest()), lambda answer: answer.uuid.uuid)

    def complete(self, output: Any) -> Step:
        return Step(complete=steps.CompleteRequest(output=self.input(output)))

    def fail(self, failure: Failure) -> Step:
        return Step(fail=steps.FailRequest(failure=failure_to_proto(failure)))

    def name(self, step: str) -> str:
        return _within(self._limits.step_name, "step name", step, len(step))

    def input(self, value: Any) -> types.Payload:
        payload = values.encode(value)
        return _within(self._limits.input, "input or result", payload, len(payload.data))

    def recorded(self, value: Any) -> types.Payload:
        return self._value(value)

    def _key(self, key: str) -> str:
        return _within(self._limits.key, "key", key, len(key.encode()))

    def _value(self, value: Any) -> types.Payload:
        payload = values.encode(value)
        return _within(self._limits.value, "value", payload, len(payload.data))


def _within(limit: int, what: str, thing: T, size: int) -> T:
    if limit and size > limit:
        raise InvalidArgument("TOO_LARGE", f"{what} of {size} bytes is over the limit of {limit} bytes")
    return thing


def _ref(target: Target) -> types.FunctionRef:
    service, function = split_target(target)
    return types.FunctionRef(service=service, function=function)


def _page(response: steps.ListResponse) -> Page:
    entries = [
        Entry(entry.key, values.decode(entry.value) if entry.HasField("value") else None) for entry in response.entries
    ]
    return Page(entries, response.next)


def _recording(response: steps.BeginRecordResponse) -> Recording:
    failure = failure_from_proto(response.failure) if response.HasField("failure") else None
    return Recording(response.recorded, values.decode(response.value), failure, response.token)
