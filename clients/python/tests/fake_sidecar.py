"""A sidecar in memory: a real gRPC server that speaks the worker stream, for tests of the SDK alone.

It keeps tables and, per instance, the answers it gave, so that a further attempt replays them. It knows no store, no
lease and no CEL: an expression is one of the few in `EXPRESSIONS`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from beldi._pb import functions_pb2, functions_pb2_grpc, steps_pb2, types_pb2, worker_pb2_grpc
from beldi._pb import worker_pb2 as pb
from beldi.errors import failure_to_proto
from beldi.values import decode, encode

EXPRESSIONS: dict[str, Callable[[Any, bool, Any], Any]] = {
    "found ? value + 1 : 1": lambda value, found, _: value + 1 if found else 1,
    "value + input": lambda value, _, input: value + input,
    "!found": lambda _, found, __: not found,
    "true": lambda *_: True,
}


def message_of(step: pb.Step) -> Any:
    return getattr(step, step.WhichOneof("op") or "")


@dataclass
class Outcome:
    """How an instance ended."""

    output: Any = None
    failure: types_pb2.Failure | None = None


@dataclass
class Instance:
    id: str
    function: str
    input: types_pb2.Payload
    attempts: int = 0
    answers: dict[str, pb.Answer] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    crashes: list[pb.Crash] = field(default_factory=list)
    crashed: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Future[Outcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def took(self, step: str) -> None:
        async with self._arrived:
            self.steps.append(step)
            self._arrived.notify_all()

    async def steps_arrive(self, count: int) -> None:
        """Waits until it has taken `count` steps."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.steps) >= count)


class Connection:
    """One worker stream, as the sidecar sees it."""

    def __init__(self, context: grpc.aio.ServicerContext[pb.FromWorker, pb.ToWorker]) -> None:
        self.context = context
        self.hello = pb.Hello()
        self.draining = asyncio.Event()
        self.received: list[pb.FromWorker] = []
        self.running: dict[int, Instance] = {}
        self.ended = asyncio.Event()
        self._writing = asyncio.Lock()

    async def send(self, **parts: Any) -> None:
        # gRPC takes one write at a time.
        async with self._writing:
            await self.context.write(pb.ToWorker(**parts))


class FakeSidecar(worker_pb2_grpc.WorkersServicer):
    """`hold[operation]` holds its answers up until the event is set; `refuse[operation]` refuses the next one."""

    def __init__(self, address: str, limits: pb.Limits | None = None) -> None:
        self.address = address
        self.limits = limits or pb.Limits(key=1 << 10, value=256 << 10, input=1 << 20, step_name=256)
        self.tables: dict[tuple[str, str], Any] = {}
        self.callees: dict[str, Callable[[Any], Any]] = {}
        self.hold: dict[str, asyncio.Event] = {}
        self.refuse: dict[str, types_pb2.Error] = {}
        self.connections: list[Connection] = []
        self.instances: list[Instance] = []
        self._connected = asyncio.Condition()
        self._held: set[asyncio.Task[None]] = set()
        self._attempts = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server()
        worker_pb2_grpc.add_WorkersServicer_to_server(self, self._server)
        functions_pb2_grpc.add_FunctionsServicer_to_server(FakeFunctions(self), self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        for held in self._held:
            held.cancel()
        await asyncio.gather(*self._held, return_exceptions=True)
        assert self._server is not None
        await self._server.stop(grace=None)
        await self._server.wait_for_termination()

    async def __aenter__(self) -> FakeSidecar:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def connection(self, number: int = 1) -> Connection:
        """The nth worker stream, once it has said Hello."""
        async with self._connected:
            await self._connected.wait_for(lambda: len(self.connections) >= number)
        return self.connections[number - 1]

    async def begin(self, function: str, input: Any = None) -> Instance:
        """Starts an instance on the newest stream."""
        connection = await self.connection()
        instance = Instance(f"i{len(self.instances) + 1}", function, encode(input))
        self.instances.append(instance)
        await self.attempt(self.connections[-1] if self.connections else connection, instance)
        return instance

    async def run(self, function: str, input: Any = None) -> Outcome:
        return await (await self.begin(function, input)).done

    async def attempt(self, connection: Connection, instance: Instance) -> int:
        self._attempts += 1
        number = self._attempts
        instance.attempts += 1
        connection.running[number] = instance
        message = pb.Attempt(
            attempt=number,
            instance=instance.id,
            service=connection.hello.service,
            function=instance.function,
            input=instance.input,
            number=instance.attempts,
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        await connection.send(attempts=[message])
        return number

    async def cancel(self, connection: Connection, instance: Instance, reason: str) -> None:
        number = next(n for n, running in connection.running.items() if running is instance)
        del connection.running[number]
        error = types_pb2.Error(code=grpc.StatusCode.ABORTED.value[0], reason=reason, message="it is over")
        await connection.send(cancels=[pb.Cancel(attempt=number, error=error)])

    async def Work(self, requests: Any, context: grpc.aio.ServicerContext[pb.FromWorker, pb.ToWorker]) -> None:
        connection = Connection(context)
        try:
            async for message in requests:
                connection.received.append(message)
                if message.HasField("hello"):
                    await self._greet(connection, message.hello)
                for step in message.steps:
                    await self._step(connection, step)
        finally:
            connection.ended.set()

    async def _greet(self, connection: Connection, hello: pb.Hello) -> None:
        connection.hello = hello
        if hello.draining:
            connection.draining.set()
            return
        await connection.send(welcome=pb.Welcome(version="fake", limits=self.limits))
        async with self._connected:
            self.connections.append(connection)
            self._connected.notify_all()

    async def _step(self, connection: Connection, step: pb.Step) -> None:
        instance = connection.running.get(step.attempt)
        if instance is None:
            return
        operation = step.WhichOneof("op") or ""
        if operation in ("complete", "fail", "crash"):
            del connection.running[step.attempt]
            await self._ended(connection, instance, operation, step)
            return
        await instance.took(f"{step.name} {operation}")
        if operation in self.refuse:
            error = self.refuse.pop(operation)
            await connection.send(answers=[pb.Answer(attempt=step.attempt, step=step.name, error=error)])
            return
        if operation in self.hold:
            held = asyncio.create_task(self._answer_later(connection, instance, step, self.hold[operation]))
            self._held.add(held)
            held.add_done_callback(self._held.discard)
            return
        await self._answer(connection, instance, step)

    async def _answer_later(
        self, connection: Connection, instance: Instance, step: pb.Step, release: asyncio.Event
    ) -> None:
        await release.wait()
        await self._answer(connection, instance, step)

    async def _answer(self, connection: Connection, instance: Instance, step: pb.Step) -> None:
        answer = pb.Answer()
        recorded = instance.answers.get(step.name)
        if recorded is not None:
            answer.CopyFrom(recorded)
            answer.replayed = True
        elif not self._apply(step, answer):
            if step.HasField("end_record"):
                value, failure = step.end_record.value, step.end_record.failure
                kept = steps_pb2.BeginRecordResponse(recorded=True, step=step.name)
                if step.end_record.HasField("failure"):
                    kept.failure.CopyFrom(failure)
                else:
                    kept.value.CopyFrom(value)
                instance.answers[step.name] = pb.Answer(begin_record=kept)
            return
        elif not step.HasField("begin_record"):
            instance.answers[step.name] = answer
        reply = pb.Answer()
        reply.CopyFrom(answer)
        reply.attempt, reply.step = step.attempt, step.name
        await connection.send(answers=[reply])

    def _apply(self, step: pb.Step, answer: pb.Answer) -> bool:
        """Does the operation; says whether it has an answer."""
        operation, request = step.WhichOneof("op"), message_of(step)
        if operation in ("read", "write", "delete", "cond_write", "update"):
            cell = (request.table, request.key)
            found, value = cell in self.tables, self.tables.get(cell)
        if operation == "write":
            self.tables[cell] = decode(request.value)
            return False
        if operation == "delete":
            self.tables.pop(cell, None)
            return False
        if operation == "end_record":
            return False
        if operation == "read":
            answer.read.found = found
            if found:
                answer.read.value.CopyFrom(encode(value))
        elif operation == "cond_write":
            answer.cond_write.applied = EXPRESSIONS[request.condition](value, found, None)
            if answer.cond_write.applied:
                self.tables[cell] = decode(request.value)
        elif operation == "update":
            self.tables[cell] = EXPRESSIONS[request.expression](value, found, decode(request.input))
            answer.update.value.CopyFrom(encode(self.tables[cell]))
        elif operation == "list":
            self._list(request, answer.list)
        elif operation == "invoke":
            self._invoke(request, answer)
        elif operation == "start":
            answer.start.instance = f"{request.target.service}/{request.target.function}?{request.input.data.decode()}"
        elif operation == "await":
            target, _, input = request.instance.partition("?")
            output = self.callees[target](json.loads(input))
            getattr(answer, "await").output.CopyFrom(encode(output))
        elif operation == "begin_record":
            answer.begin_record.token = f"token-{step.name}"
        elif operation == "now":
            answer.now.time.FromJsonString("2026-11-21T14:01:18.123456Z")
        elif operation == "random":
            answer.random.value = 0.25
        elif operation == "uuid":
            answer.uuid.uuid = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
        return True

    def _list(self, request: steps_pb2.ListRequest, response: steps_pb2.ListResponse) -> None:
        keys = sorted(
            key
            for table, key in self.tables
            if table == request.table and key.startswith(request.prefix) and key > request.after
        )
        for key in keys[: request.limit]:
            entry = response.entries.add(key=key)
            if request.values:
                entry.value.CopyFrom(encode(self.tables[request.table, key]))
        if len(keys) > request.limit:
            response.next = keys[request.limit - 1]

    def _invoke(self, request: steps_pb2.InvokeStep, answer: pb.Answer) -> None:
        result = self.callees[f"{request.target.service}/{request.target.function}"](decode(request.input))
        if isinstance(result, Exception):
            answer.error.reason = "FUNCTION_FAILED"
            answer.error.failure.CopyFrom(failure_to_proto(result))  # type: ignore[arg-type]
        else:
            answer.invoke.output.CopyFrom(encode(result))

    async def _ended(self, connection: Connection, instance: Instance, operation: str, step: pb.Step) -> None:
        if operation == "crash":
            instance.crashes.append(step.crash)
            instance.crashed.set()
            await self.attempt(connection, instance)
        elif operation == "fail":
            instance.done.set_result(Outcome(failure=step.fail.failure))
        else:
            instance.done.set_result(Outcome(output=decode(step.complete.output)))


class FakeFunctions(functions_pb2_grpc.FunctionsServicer):
    """Calls from outside, one instance for each key."""

    def __init__(self, sidecar: FakeSidecar) -> None:
        self._sidecar = sidecar
        self._keys: dict[str, Instance] = {}
        self.metadata: list[dict[str, Any]] = []

    async def Invoke(self, request: Any, context: Any) -> Any:
        instance = await self._instance(request, context)
        output = await self._outcome(instance, context)
        return functions_pb2.InvokeResponse(output=output, instance=instance.id)

    async def Start(self, request: Any, context: Any) -> Any:
        return functions_pb2.StartResponse(instance=(await self._instance(request, context)).id)

    async def Await(self, request: Any, context: Any) -> Any:
        instance = next(instance for instance in self._sidecar.instances if instance.id == request.instance)
        return functions_pb2.AwaitResponse(output=await self._outcome(instance, context), instance=instance.id)

    async def _instance(self, request: Any, context: Any) -> Instance:
        known = self._keys.get(request.idempotency_key)
        if known is not None and known.input != request.input:
            info = error_details_pb2.ErrorInfo(reason="KEY_REUSED", metadata={"key": request.idempotency_key})
            await _abort(context, grpc.StatusCode.ALREADY_EXISTS, "the key had another input", info)
        if known is None:
            known = await self._sidecar.begin(request.function, decode(request.input))
            if request.idempotency_key:
                self._keys[request.idempotency_key] = known
        return known

    async def _outcome(self, instance: Instance, context: Any) -> types_pb2.Payload:
        outcome = await instance.done
        if outcome.failure is not None:
            info = error_details_pb2.ErrorInfo(reason="FUNCTION_FAILED")
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, "failed", info, outcome.failure)
        return encode(outcome.output)


async def _abort(context: Any, code: grpc.StatusCode, message: str, *details: Any) -> None:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(code, message, trailing_metadata=trailers)
