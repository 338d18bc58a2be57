"""Joins a function's own spans to the attempt's trace, if OpenTelemetry is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

try:
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:

    @contextmanager
    def current(traceparent: str) -> Iterator[None]:
        yield

else:
    _propagator = TraceContextTextMapPropagator()

    @contextmanager
    def current(traceparent: str) -> Iterator[None]:
        token = context.attach(_propagator.extract({"traceparent": traceparent}))
        try:
            yield
        finally:
            context.detach(token)
