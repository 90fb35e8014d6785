"""`signerd ledger`, and what an altered ledger is to a caller over the wire."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from birthmark.v1 import audit_pb2, audit_pb2_grpc
from harness.installation import Installation
from harness.process import wait_until
from harness.read_tiles import checked
from harness.signerd_commands import changed, signerd

pytestmark = pytest.mark.check


def test_tiles_that_were_altered_are_written_anew(fresh: Installation, tmp_path: Path) -> None:
    tiles = fresh.home / "tiles"
    assert "none yet: signerd makes" in fresh.admin("check-config")
    fresh.start_signerd()
    auditor = fresh.add_auditor("watcher")
    wait_until(lambda: (tiles / "checkpoint").exists() and b"watcher" in checked(tiles)[-1], "the tiles")
    assert "another signerd holds" in signerd(fresh, "ledger", "publish")[1]
    altered_over_the_wire(fresh, auditor.credentials())
    fresh.process.stop()
    size = len(checked(tiles))
    tile = tiles / f"tile/0/000.p/{size}"
    right = tile.read_bytes()
    tile.write_bytes(bytes(len(right)))
    said = json.loads(fresh.admin("ledger", "publish", "--json"))
    assert (said["folder"], said["size"], said["written"]) == (str(tiles), size, 1)
    assert tile.read_bytes() == right
    assert "0 files written" in fresh.admin("ledger", "publish")
    assert f"in {tiles}" in fresh.admin("check-config")
    elsewhere = tmp_path / "elsewhere"
    with changed(fresh, "[hsm]", f'[publication]\nfolder = "{elsewhere}/tiles"\n\n[hsm]'):
        for command in (("check-config",), ("ledger", "publish")):
            code, named = signerd(fresh, *command)
            assert (code, str(elsewhere) in named) == (3, True), named
        elsewhere.mkdir()
        assert f"of {size} entries" in fresh.admin("ledger", "publish")
    assert checked(elsewhere / "tiles") == checked(tiles)


def altered_over_the_wire(installation: Installation, credentials: grpc.ChannelCredentials) -> None:
    """The caller learns that it is our fault, and nothing of the altered entry."""
    with grpc.secure_channel(installation.target, credentials) as channel:
        audit = audit_pb2_grpc.AuditServiceStub(channel)
        request = audit_pb2.StreamEntriesRequest()
        assert sum(len(batch.entries) for batch in audit.StreamEntries(request, timeout=30)) > 1
        rewrite(installation, "line", "XXXX")
        with pytest.raises(grpc.RpcError) as raised:
            list(audit.StreamEntries(request, timeout=30))
        assert raised.value.code() is grpc.StatusCode.INTERNAL
        assert "XXXX" not in str(raised.value)
        rewrite(installation, "XXXX", "line")


def rewrite(installation: Installation, old: str, new: str) -> None:
    with closing(sqlite3.connect(installation.home / "signerd.sqlite", timeout=30)) as database:
        database.execute("UPDATE entries SET data = CAST(replace(data, ?, ?) AS BLOB)", (old, new))
        database.commit()
