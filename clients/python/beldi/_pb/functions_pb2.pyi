import datetime

from beldi._pb import types_pb2 as _types_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class InvokeRequest(_message.Message):
    __slots__ = ("service", "function", "input", "idempotency_key", "wait")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    service: str
    function: str
    input: _types_pb2.Payload
    idempotency_key: str
    wait: _duration_pb2.Duration
    def __init__(self, service: _Optional[str] = ..., function: _Optional[str] = ..., input: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., idempotency_key: _Optional[str] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class InvokeResponse(_message.Message):
    __slots__ = ("output", "instance")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    output: _types_pb2.Payload
    instance: str
    def __init__(self, output: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., instance: _Optional[str] = ...) -> None: ...

class StartRequest(_message.Message):
    __slots__ = ("service", "function", "input", "idempotency_key")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    service: str
    function: str
    input: _types_pb2.Payload
    idempotency_key: str
    def __init__(self, service: _Optional[str] = ..., function: _Optional[str] = ..., input: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class StartResponse(_message.Message):
    __slots__ = ("instance",)
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    instance: str
    def __init__(self, instance: _Optional[str] = ...) -> None: ...

class AwaitRequest(_message.Message):
    __slots__ = ("instance", "wait")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    instance: str
    wait: _duration_pb2.Duration
    def __init__(self, instance: _Optional[str] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AwaitResponse(_message.Message):
    __slots__ = ("output", "instance")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    output: _types_pb2.Payload
    instance: str
    def __init__(self, output: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., instance: _Optional[str] = ...) -> None: ...

class ListFunctionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListFunctionsResponse(_message.Message):
    __slots__ = ("functions",)
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    functions: _containers.RepeatedCompositeFieldContainer[FunctionStatus]
    def __init__(self, functions: _Optional[_Iterable[_Union[FunctionStatus, _Mapping]]] = ...) -> None: ...

class FunctionStatus(_message.Message):
    __slots__ = ("service", "function", "workers")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    service: str
    function: str
    workers: int
    def __init__(self, service: _Optional[str] = ..., function: _Optional[str] = ..., workers: _Optional[int] = ...) -> None: ...
