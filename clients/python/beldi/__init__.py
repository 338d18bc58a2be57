"""Exactly-once stateful functions: the Python SDK of the Beldi sidecar.

from beldi import Service

hotel = Service("hotel")

@hotel.function
async def reserve(ctx, order): ...

hotel.run()
"""

from beldi._operations import Entry, Page, Started, Target
from beldi._version import __version__
from beldi.client import Client, SyncClient
from beldi.context import Context, ThreadContext
from beldi.errors import (
    BeldiError,
    Cancelled,
    Failure,
    FunctionFailed,
    InvalidArgument,
    NonDeterminism,
    Superseded,
)
from beldi.service import Service, run

__all__ = [
    "BeldiError",
    "Cancelled",
    "Client",
    "Context",
    "Entry",
    "Failure",
    "FunctionFailed",
    "InvalidArgument",
    "NonDeterminism",
    "Page",
    "Service",
    "Started",
    "Superseded",
    "SyncClient",
    "Target",
    "ThreadContext",
    "__version__",
    "run",
]
