from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fake_sidecar import FakeSidecar

from beldi import Service


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    address = f"unix://{tmp_path}/s"
    monkeypatch.setenv("BELDI_ADDRESS", address)
    monkeypatch.delenv("BELDI_TOKEN", raising=False)
    return address


@pytest.fixture
async def sidecar(address: str) -> AsyncIterator[FakeSidecar]:
    async with FakeSidecar(address) as sidecar:
        yield sidecar


@pytest.fixture
async def service(sidecar: FakeSidecar) -> AsyncIterator[Service]:
    """A service that is being served. Functions may be added until the first attempt."""
    service = Service("hotel")
    async with service.serving():
        yield service
