"""For callers outside: programs that are no functions themselves. `Client` for asyncio, `SyncClient` without."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration

from beldi import _address, values
from beldi._operations import Started, Target, split_target
from beldi._pb import functions_pb2 as pb
from beldi._pb.functions_pb2_grpc import FunctionsStub
from beldi.errors import InvalidArgument, from_rpc

R = TypeVar("R")


class Client:
    """Invokes functions from an asyncio program. `address`: as BELDI_ADDRESS, which is the default.

    `key`: the same key and input give the same instance, so that a call may be repeated until it is answered; the
    same key with another input is refused (KEY_REUSED). `wait`: seconds to wait for a result; then INVOKE_WAIT, and
    the instance runs on. Default: 60.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._channel: grpc.aio.Channel | None = None

    async def invoke(self, target: Target, input: Any = None, *, key: str = "", wait: float | None = None) -> Any:
        """Runs a function exactly once and gives its result. `FunctionFailed` if it failed for good."""
        request = _invoke_request(target, input, key, wait)
        response = await self._call(f"invoke {_name(request)}", lambda stub: stub.Invoke, request)
        return values.decode(response.output)

    async def start(self, target: Target, input: Any = None, *, key: str = "") -> Started[Awaitable[Any]]:
        """Starts a function, which then runs to its end whatever dies. The result has `instance` and `result()`."""
        request = _start_request(target, input, key)
        response = await self._call(f"start {_name(request)}", lambda stub: stub.Start, request)
        return Started(response.instance, self.await_)

    async def await_(self, instance: str, *, wait: float | None = None) -> Any:
        """Waits for the result of an instance."""
        request = pb.AwaitRequest(instance=instance, wait=_duration(wait))
        response = await self._call(f"await {instance}", lambda stub: stub.Await, request)
        return values.decode(response.output)

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(self, attempted: str, method: Callable[[Any], Any], request: Any) -> Any:
        if self._channel is None:
            # Not in __init__: a channel belongs to the event loop in which it is made.
            self._channel = grpc.aio.insecure_channel(
                self._address or _address.resolve(), options=_address.CHANNEL_OPTIONS
            )
        try:
            return await method(FunctionsStub(self._channel))(request, metadata=_address.credentials())
        except grpc.RpcError as error:
            raise from_rpc(error, attempted) from error


class SyncClient:
    """As `Client`, but each method waits. May be shared among threads."""

    def __init__(self, address: str | None = None) -> None:
        self._channel = grpc.insecure_channel(address or _address.resolve(), options=_address.CHANNEL_OPTIONS)
        self._stub = FunctionsStub(self._channel)

    def invoke(self, target: Target, input: Any = None, *, key: str = "", wait: float | None = None) -> Any:
        request = _invoke_request(target, input, key, wait)
        return values.decode(self._call(f"invoke {_name(request)}", self._stub.Invoke, request).output)

    def start(self, target: Target, input: Any = None, *, key: str = "") -> Started[Any]:
        request = _start_request(target, input, key)
        response = self._call(f"start {_name(request)}", self._stub.Start, request)
        return Started(response.instance, self.await_)

    def await_(self, instance: str, *, wait: float | None = None) -> Any:
        request = pb.AwaitRequest(instance=instance, wait=_duration(wait))
        return values.decode(self._call(f"await {instance}", self._stub.Await, request).output)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, attempted: str, method: Callable[..., R], request: Any) -> R:
        try:
            return method(request, metadata=_address.credentials())
        except grpc.RpcError as error:
            raise from_rpc(error, attempted) from error


def _invoke_request(target: Target, input: Any, key: str, wait: float | None) -> pb.InvokeRequest:
    service, function = _full_target(target)
    return pb.InvokeRequest(
        service=service,
        function=function,
        input=values.encode(input),
        idempotency_key=key,
        wait=_duration(wait),
    )


def _start_request(target: Target, input: Any, key: str) -> pb.StartRequest:
    service, function = _full_target(target)
    return pb.StartRequest(service=service, function=function, input=values.encode(input), idempotency_key=key)


def _full_target(target: Target) -> tuple[str, str]:
    service, function = split_target(target)
    if not service:
        raise InvalidArgument("MALFORMED", f"target {target!r} names no service: a client has none of its own")
    return service, function


def _name(request: pb.InvokeRequest | pb.StartRequest) -> str:
    return f"{request.service}/{request.function}"


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration
