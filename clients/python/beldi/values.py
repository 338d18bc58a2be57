"""Python values on the wire: bytes as they are, everything else as JSON."""

from __future__ import annotations

import json
from typing import Any

from beldi._pb.types_pb2 import Payload

JSON = "application/json"
BYTES = "application/octet-stream"


def encode(value: Any) -> Payload:
    """Raises TypeError or ValueError for what JSON cannot say (sets, NaN, non-string keys of odd types)."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Payload(data=bytes(value), content_type=BYTES)
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return Payload(data=text.encode(), content_type=JSON)


def decode(payload: Payload) -> Any:
    """JSON becomes Python values, any other content type stays bytes."""
    media_type = payload.content_type.partition(";")[0].strip()
    if media_type not in ("", JSON):
        return payload.data
    return json.loads(payload.data) if payload.data else None
