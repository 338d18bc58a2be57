from beldi._pb import steps_pb2 as _steps_pb2
from beldi._pb import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FromWorker(_message.Message):
    __slots__ = ("hello", "steps")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("service", "functions", "sdk", "concurrency", "draining")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    SDK_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    service: str
    functions: _containers.RepeatedScalarFieldContainer[str]
    sdk: str
    concurrency: int
    draining: bool
    def __init__(self, service: _Optional[str] = ..., functions: _Optional[_Iterable[str]] = ..., sdk: _Optional[str] = ..., concurrency: _Optional[int] = ..., draining: _Optional[bool] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("attempt", "name", "read", "write", "delete", "cond_write", "update", "list", "invoke", "start", "begin_record", "end_record", "now", "random", "uuid", "complete", "fail", "crash")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    WRITE_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    COND_WRITE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    INVOKE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    AWAIT_FIELD_NUMBER: _ClassVar[int]
    BEGIN_RECORD_FIELD_NUMBER: _ClassVar[int]
    END_RECORD_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    RANDOM_FIELD_NUMBER: _ClassVar[int]
    UUID_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    FAIL_FIELD_NUMBER: _ClassVar[int]
    CRASH_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    name: str
    read: _steps_pb2.ReadRequest
    write: _steps_pb2.WriteRequest
    delete: _steps_pb2.DeleteRequest
    cond_write: _steps_pb2.CondWriteRequest
    update: _steps_pb2.UpdateRequest
    list: _steps_pb2.ListRequest
    invoke: _steps_pb2.InvokeStep
    start: _steps_pb2.StartStep
    begin_record: _steps_pb2.BeginRecordRequest
    end_record: _steps_pb2.EndRecordRequest
    now: _steps_pb2.NowRequest
    random: _steps_pb2.RandomRequest
    uuid: _steps_pb2.UuidRequest
    complete: _steps_pb2.CompleteRequest
    fail: _steps_pb2.FailRequest
    crash: Crash
    def __init__(self, attempt: _Optional[int] = ..., name: _Optional[str] = ..., read: _Optional[_Union[_steps_pb2.ReadRequest, _Mapping]] = ..., write: _Optional[_Union[_steps_pb2.WriteRequest, _Mapping]] = ..., delete: _Optional[_Union[_steps_pb2.DeleteRequest, _Mapping]] = ..., cond_write: _Optional[_Union[_steps_pb2.CondWriteRequest, _Mapping]] = ..., update: _Optional[_Union[_steps_pb2.UpdateRequest, _Mapping]] = ..., list: _Optional[_Union[_steps_pb2.ListRequest, _Mapping]] = ..., invoke: _Optional[_Union[_steps_pb2.InvokeStep, _Mapping]] = ..., start: _Optional[_Union[_steps_pb2.StartStep, _Mapping]] = ..., begin_record: _Optional[_Union[_steps_pb2.BeginRecordRequest, _Mapping]] = ..., end_record: _Optional[_Union[_steps_pb2.EndRecordRequest, _Mapping]] = ..., now: _Optional[_Union[_steps_pb2.NowRequest, _Mapping]] = ..., random: _Optional[_Union[_steps_pb2.RandomRequest, _Mapping]] = ..., uuid: _Optional[_Union[_steps_pb2.UuidRequest, _Mapping]] = ..., complete: _Optional[_Union[_steps_pb2.CompleteRequest, _Mapping]] = ..., fail: _Optional[_Union[_steps_pb2.FailRequest, _Mapping]] = ..., crash: _Optional[_Union[Crash, _Mapping]] = ..., **kwargs) -> None: ...

class Crash(_message.Message):
    __slots__ = ("message", "trace")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    message: str
    trace: str
    def __init__(self, message: _Optional[str] = ..., trace: _Optional[str] = ...) -> None: ...

class ToWorker(_message.Message):
    __slots__ = ("welcome", "attempts", "answers", "cancels")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    CANCELS_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    answers: _containers.RepeatedCompositeFieldContainer[Answer]
    cancels: _containers.RepeatedCompositeFieldContainer[Cancel]
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ..., answers: _Optional[_Iterable[_Union[Answer, _Mapping]]] = ..., cancels: _Optional[_Iterable[_Union[Cancel, _Mapping]]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("version", "limits", "draining")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    version: str
    limits: Limits
    draining: bool
    def __init__(self, version: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., draining: _Optional[bool] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("key", "value", "input", "step_name")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    STEP_NAME_FIELD_NUMBER: _ClassVar[int]
    key: int
    value: int
    input: int
    step_name: int
    def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ..., input: _Optional[int] = ..., step_name: _Optional[int] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("attempt", "instance", "function", "input", "number", "traceparent", "service")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    instance: str
    function: str
    input: _types_pb2.Payload
    number: int
    traceparent: str
    service: str
    def __init__(self, attempt: _Optional[int] = ..., instance: _Optional[str] = ..., function: _Optional[str] = ..., input: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., number: _Optional[int] = ..., traceparent: _Optional[str] = ..., service: _Optional[str] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("attempt", "step", "replayed", "error", "read", "cond_write", "update", "list", "invoke", "start", "begin_record", "now", "random", "uuid")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    COND_WRITE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    INVOKE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    AWAIT_FIELD_NUMBER: _ClassVar[int]
    BEGIN_RECORD_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    RANDOM_FIELD_NUMBER: _ClassVar[int]
    UUID_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    step: str
    replayed: bool
    error: _types_pb2.Error
    read: _steps_pb2.ReadResponse
    cond_write: _steps_pb2.CondWriteResponse
    update: _steps_pb2.UpdateResponse
    list: _steps_pb2.ListResponse
    invoke: _steps_pb2.InvokeStepResponse
    start: _steps_pb2.StartStepResponse
    begin_record: _steps_pb2.BeginRecordResponse
    now: _steps_pb2.NowResponse
    random: _steps_pb2.RandomResponse
    uuid: _steps_pb2.UuidResponse
    def __init__(self, attempt: _Optional[int] = ..., step: _Optional[str] = ..., replayed: _Optional[bool] = ..., error: _Optional[_Union[_types_pb2.Error, _Mapping]] = ..., read: _Optional[_Union[_steps_pb2.ReadResponse, _Mapping]] = ..., cond_write: _Optional[_Union[_steps_pb2.CondWriteResponse, _Mapping]] = ..., update: _Optional[_Union[_steps_pb2.UpdateResponse, _Mapping]] = ..., list: _Optional[_Union[_steps_pb2.ListResponse, _Mapping]] = ..., invoke: _Optional[_Union[_steps_pb2.InvokeStepResponse, _Mapping]] = ..., start: _Optional[_Union[_steps_pb2.StartStepResponse, _Mapping]] = ..., begin_record: _Optional[_Union[_steps_pb2.BeginRecordResponse, _Mapping]] = ..., now: _Optional[_Union[_steps_pb2.NowResponse, _Mapping]] = ..., random: _Optional[_Union[_steps_pb2.RandomResponse, _Mapping]] = ..., uuid: _Optional[_Union[_steps_pb2.UuidResponse, _Mapping]] = ..., **kwargs) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("attempt", "error")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    error: _types_pb2.Error
    def __init__(self, attempt: _Optional[int] = ..., error: _Optional[_Union[_types_pb2.Error, _Mapping]] = ...) -> None: ...

class AnnounceRequest(_message.Message):
    __slots__ = ("service", "functions", "url")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    service: str
    functions: _containers.RepeatedScalarFieldContainer[str]
    url: str
    def __init__(self, service: _Optional[str] = ..., functions: _Optional[_Iterable[str]] = ..., url: _Optional[str] = ...) -> None: ...

class AnnounceResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
