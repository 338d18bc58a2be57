import datetime

from beldi._pb import types_pb2 as _types_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReadRequest(_message.Message):
    __slots__ = ("table", "key", "step")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    table: str
    key: str
    step: str
    def __init__(self, table: _Optional[str] = ..., key: _Optional[str] = ..., step: _Optional[str] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("found", "value")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    found: bool
    value: _types_pb2.Payload
    def __init__(self, found: _Optional[bool] = ..., value: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ...) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("table", "key", "value", "step")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    table: str
    key: str
    value: _types_pb2.Payload
    step: str
    def __init__(self, table: _Optional[str] = ..., key: _Optional[str] = ..., value: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., step: _Optional[str] = ...) -> None: ...

class WriteResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("table", "key", "step")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    table: str
    key: str
    step: str
    def __init__(self, table: _Optional[str] = ..., key: _Optional[str] = ..., step: _Optional[str] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CondWriteRequest(_message.Message):
    __slots__ = ("table", "key", "value", "condition", "step")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    table: str
    key: str
    value: _types_pb2.Payload
    condition: str
    step: str
    def __init__(self, table: _Optional[str] = ..., key: _Optional[str] = ..., value: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., condition: _Optional[str] = ..., step: _Optional[str] = ...) -> None: ...

class CondWriteResponse(_message.Message):
    __slots__ = ("applied",)
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    applied: bool
    def __init__(self, applied: _Optional[bool] = ...) -> None: ...

class UpdateRequest(_message.Message):
    __slots__ = ("table", "key", "expression", "input", "step")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    table: str
    key: str
    expression: str
    input: _types_pb2.Payload
    step: str
    def __init__(self, table: _Optional[str] = ..., key: _Optional[str] = ..., expression: _Optional[str] = ..., input: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., step: _Optional[str] = ...) -> None: ...

class UpdateResponse(_message.Message):
    __slots__ = ("value", "too_large")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TOO_LARGE_FIELD_NUMBER: _ClassVar[int]
    value: _types_pb2.Payload
    too_large: bool
    def __init__(self, value: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., too_large: _Optional[bool] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("table", "prefix", "limit", "after", "values", "step")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    table: str
    prefix: str
    limit: int
    after: str
    values: bool
    step: str
    def __init__(self, table: _Optional[str] = ..., prefix: _Optional[str] = ..., limit: _Optional[int] = ..., after: _Optional[str] = ..., values: _Optional[bool] = ..., step: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("entries", "next")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[ListEntry]
    next: str
    def __init__(self, entries: _Optional[_Iterable[_Union[ListEntry, _Mapping]]] = ..., next: _Optional[str] = ...) -> None: ...

class ListEntry(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: _types_pb2.Payload
    def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ...) -> None: ...

class InvokeStep(_message.Message):
    __slots__ = ("target", "input", "step")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    target: _types_pb2.FunctionRef
    input: _types_pb2.Payload
    step: str
    def __init__(self, target: _Optional[_Union[_types_pb2.FunctionRef, _Mapping]] = ..., input: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., step: _Optional[str] = ...) -> None: ...

class InvokeStepResponse(_message.Message):
    __slots__ = ("output", "instance")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    output: _types_pb2.Payload
    instance: str
    def __init__(self, output: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., instance: _Optional[str] = ...) -> None: ...

class StartStep(_message.Message):
    __slots__ = ("target", "input", "step")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    target: _types_pb2.FunctionRef
    input: _types_pb2.Payload
    step: str
    def __init__(self, target: _Optional[_Union[_types_pb2.FunctionRef, _Mapping]] = ..., input: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., step: _Optional[str] = ...) -> None: ...

class StartStepResponse(_message.Message):
    __slots__ = ("instance",)
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    instance: str
    def __init__(self, instance: _Optional[str] = ...) -> None: ...

class AwaitStep(_message.Message):
    __slots__ = ("instance", "step")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    instance: str
    step: str
    def __init__(self, instance: _Optional[str] = ..., step: _Optional[str] = ...) -> None: ...

class AwaitStepResponse(_message.Message):
    __slots__ = ("output",)
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    output: _types_pb2.Payload
    def __init__(self, output: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ...) -> None: ...

class BeginRecordRequest(_message.Message):
    __slots__ = ("name", "step")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    name: str
    step: str
    def __init__(self, name: _Optional[str] = ..., step: _Optional[str] = ...) -> None: ...

class BeginRecordResponse(_message.Message):
    __slots__ = ("recorded", "value", "token", "step", "failure")
    RECORDED_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    recorded: bool
    value: _types_pb2.Payload
    token: str
    step: str
    failure: _types_pb2.Failure
    def __init__(self, recorded: _Optional[bool] = ..., value: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., token: _Optional[str] = ..., step: _Optional[str] = ..., failure: _Optional[_Union[_types_pb2.Failure, _Mapping]] = ...) -> None: ...

class EndRecordRequest(_message.Message):
    __slots__ = ("value", "failure", "step")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    value: _types_pb2.Payload
    failure: _types_pb2.Failure
    step: str
    def __init__(self, value: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_types_pb2.Failure, _Mapping]] = ..., step: _Optional[str] = ...) -> None: ...

class EndRecordResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NowRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: str
    def __init__(self, step: _Optional[str] = ...) -> None: ...

class NowResponse(_message.Message):
    __slots__ = ("time",)
    TIME_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RandomRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: str
    def __init__(self, step: _Optional[str] = ...) -> None: ...

class RandomResponse(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: float
    def __init__(self, value: _Optional[float] = ...) -> None: ...

class UuidRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: str
    def __init__(self, step: _Optional[str] = ...) -> None: ...

class UuidResponse(_message.Message):
    __slots__ = ("uuid",)
    UUID_FIELD_NUMBER: _ClassVar[int]
    uuid: str
    def __init__(self, uuid: _Optional[str] = ...) -> None: ...

class CompleteRequest(_message.Message):
    __slots__ = ("output",)
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    output: _types_pb2.Payload
    def __init__(self, output: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ...) -> None: ...

class CompleteResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FailRequest(_message.Message):
    __slots__ = ("failure",)
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    failure: _types_pb2.Failure
    def __init__(self, failure: _Optional[_Union[_types_pb2.Failure, _Mapping]] = ...) -> None: ...

class FailResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
