"""A start that reads a large log: it says how far it is, and systemd hears that it lives."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from harness.store_world import World, refusals
from signerd.adapters.store.log import reading_progress

COUNT = 250


async def test_each_reading_of_the_log_tells_systemd_and_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    world.create()
    async with world.opened() as store:
        await store.append_refusals(refusals(COUNT))
    monkeypatch.setattr(reading_progress, "SAID_EVERY", 100)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with capture_logs() as logs:
            async with world.opened():
                pass
        heard = [systemd.recv(100) for _ in range(2)]
    assert heard == [b"EXTEND_TIMEOUT_USEC=60000000"] * 2
    said = [(line["entries"], line["of"]) for line in logs if line["event"] == "ledger_replayed"]
    assert said == [(100, COUNT + 1), (200, COUNT + 1)]
