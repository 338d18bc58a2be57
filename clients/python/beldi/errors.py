"""What can go wrong, and who says so.

========================  =========================================  ======================================
class                     means                                      uncaught, it ends the attempt as
========================  =========================================  ======================================
`Failure`                 the function says no, for good             failed: a result, told to the caller
`FunctionFailed`          an invoked function said no                failed, with the same message and code
`BeldiError`              the sidecar refused or could not do it     a crash: another attempt follows
`NonDeterminism`          a replay did another step than recorded    a crash; the sidecar parks the instance
`Cancelled`               this attempt is over                       nothing: it is over already
`Superseded`              it is over because another one took over   nothing: it is over already
========================  =========================================  ======================================
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from beldi import values
from beldi._pb import types_pb2 as types

FUNCTION_FAILED = "FUNCTION_FAILED"

_CODES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}


class Failure(Exception):
    """A function fails for good: not a crash but a result, which its caller gets exactly once.

    `code` is a short name that callers can switch on ("SOLD_OUT"; may be empty), `details` any value.
    """

    def __init__(self, message: str, code: str | None = None, details: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or ""
        self.details = details


class FunctionFailed(Failure):
    """The function that was invoked or awaited failed for good."""


class BeldiError(Exception):
    """The sidecar refused an operation or could not do it.

    `code` is a gRPC status name ("INVALID_ARGUMENT"), `reason` says it closer ("TOO_LARGE"; may be empty).
    """

    def __init__(self, code: str, reason: str, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})

    def __str__(self) -> str:
        return f"{self.reason or self.code}: {self.message}"


class InvalidArgument(BeldiError):
    """A value, key or expression that no retry will make right."""

    def __init__(self, reason: str, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__("INVALID_ARGUMENT", reason, message, metadata)


class NonDeterminism(BeldiError):
    """A step of this attempt differs from what an earlier attempt recorded in its place."""


class Cancelled(asyncio.CancelledError):
    """This attempt is over; none of its steps is served any more.

    It is no `Exception`, so that `except Exception` around a step does not turn it into program flow, and it is
    asyncio's own class, so that code which treats cancellation rightly treats this rightly.
    """

    def __init__(self, code: str, reason: str, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})


class Superseded(Cancelled):
    """Another attempt of the same instance has taken over."""


def failure_to_proto(failure: Failure) -> types.Failure:
    details = None if failure.details is None else values.encode(failure.details)
    return types.Failure(message=failure.message, code=failure.code, details=details)


def failure_from_proto(failure: types.Failure, kind: type[Failure] = Failure) -> Failure:
    details = values.decode(failure.details) if failure.HasField("details") else None
    return kind(failure.message, failure.code, details)


def from_answer(error: types.Error) -> BaseException:
    """The exception for an error that answers a step."""
    if error.reason == FUNCTION_FAILED:
        return failure_from_proto(error.failure, FunctionFailed)
    if error.reason == "SUPERSEDED":
        return from_cancel(error)
    return _error(_CODES.get(error.code, "UNKNOWN"), error.reason, error.message, error.metadata)


def from_cancel(error: types.Error) -> Cancelled:
    """The exception for an error that ends the attempt."""
    kind = Superseded if error.reason == "SUPERSEDED" else Cancelled
    return kind(_CODES.get(error.code, "ABORTED"), error.reason, error.message, error.metadata)


def from_rpc(error: grpc.RpcError, attempted: str) -> Exception:
    """The exception for a failed call from outside; `attempted` says what the call was to do."""
    if not isinstance(error, (grpc.Call, grpc.aio.AioRpcError)):
        return BeldiError("UNKNOWN", "", f"{attempted}: {error}")
    reason, metadata = "", {}
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        for detail in status_pb2.Status.FromString(value).details:
            failure, info = types.Failure(), error_details_pb2.ErrorInfo()
            if detail.Unpack(failure):
                return failure_from_proto(failure, FunctionFailed)
            if detail.Unpack(info):
                reason, metadata = info.reason, dict(info.metadata)
    return _error(error.code().name, reason, f"{attempted}: {error.details()}", metadata)


def _error(code: str, reason: str, message: str, metadata: Mapping[str, str]) -> BeldiError:
    if reason == "NON_DETERMINISM":
        return NonDeterminism(code, reason, message, metadata)
    if code == "INVALID_ARGUMENT":
        return InvalidArgument(reason, message, metadata)
    return BeldiError(code, reason, message, metadata)
