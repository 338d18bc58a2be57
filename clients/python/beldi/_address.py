"""Where the sidecar is, and the way to it."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

TCP_DEFAULT = "127.0.0.1:7401"

CHANNEL_OPTIONS: Sequence[tuple[str, int]] = (
    # The sidecar bounds each value; how many of them it puts into one message is up to it.
    ("grpc.max_receive_message_length", -1),
    # Channels to one address share their connection and its back-off, up to minutes long. The SDK has its own.
    ("grpc.use_local_subchannel_pool", 1),
)


def resolve() -> str:
    """BELDI_ADDRESS if set; else the user's Unix socket if something listens there; else the TCP default."""
    address = os.environ.get("BELDI_ADDRESS")
    if address:
        return address
    path = _default_socket()
    return f"unix://{path}" if _listening(path) else TCP_DEFAULT


def credentials() -> Sequence[tuple[str, str]]:
    """Call metadata that carries BELDI_TOKEN, if there is one."""
    token = os.environ.get("BELDI_TOKEN")
    return (("authorization", f"Bearer {token}"),) if token else ()


def _default_socket() -> str:
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    if runtime_dir:
        return os.path.join(runtime_dir, "beldi.sock")
    uid = os.getuid() if hasattr(os, "getuid") else 0
    return f"/tmp/beldi-{uid}/beldi.sock"


def _listening(path: str) -> bool:
    # A sidecar that was killed leaves its socket file behind, so that the file alone proves nothing.
    if not hasattr(socket, "AF_UNIX"):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
