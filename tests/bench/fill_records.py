"""Puts many records into a stopped signerd's database, through its own store and its own checkpoint key.

The certificates are random bytes of a real certificate's size: what is measured afterwards is memory, and no
reader looks at them. Reads its job as JSON from standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from boards import formats
from signerd import config as configuration
from signerd.adapters.commit_keys import CommitKeys
from signerd.adapters.keyholder.pool import KeyHolderPool, settings_for
from signerd.adapters.pin import read_pin
from signerd.adapters.store.sqlstore import SqlStore
from signerd.core.names import Level
from signerd.core.order import Place
from signerd.ports import Grant, IntentRequest, PreparedBytes

AT_ONCE = 200
_CSR_BYTES, _TBS_BYTES, _CERTIFICATE_BYTES, _SETTINGS_BYTES = 260, 420, 520, 60
_FIRMWARE = {"app": ("1.2.0", os.urandom(32)), "boot": ("2.1.0", os.urandom(32))}
_LOCKS = {"secure_boot": True, "flash_encryption": True, "debug_closed": False}
_CLAIMS = formats.claims(_FIRMWARE, _LOCKS)  # the ledger says what they claim, so these are real


def _prepare(_place: Place) -> PreparedBytes:
    return PreparedBytes(tbs=os.urandom(_TBS_BYTES), settings=os.urandom(_SETTINGS_BYTES))


async def _one(store: SqlStore, request: IntentRequest) -> None:
    record = await store.take_place(request, _prepare)
    grant = Grant(
        session_sha256=request.session_sha256,
        record_id=record.record_id,
        challenge=request.challenge,
        station=request.station,
        csr_sha256=os.urandom(32),
    )
    await store.complete(record, os.urandom(_CERTIFICATE_BYTES), grant, request.moment)


async def fill(job: dict[str, Any]) -> None:
    """Adds `count` issued records to `work_order`."""
    path = Path(job["config"])
    config = configuration.load(path)
    pool = KeyHolderPool(settings_for(config), 1, on_change=lambda: None)
    await pool.start(read_pin(config.hsm.pin, path.parent))
    now = datetime.now(UTC).replace(microsecond=0)
    store = await SqlStore.open(
        configuration.database_url(config, path.parent),
        head_file=config.ledger.head,
        tiles=configuration.tiles_folder(config, path.parent),
        origin=config.ledger.origin,
        vkey=config.ledger.vkey.read_text(encoding="utf-8").strip(),
        sign_checkpoint=pool.sign_checkpoint,
        commit_keys=CommitKeys(pool.commit_key),
        now=now,
    )
    context = await store.call_context(
        peer_uri=job["station"], work_order=job["work_order"], chip_id="none", session_sha256=None
    )
    if context.order is None:
        raise RuntimeError(f"no order {job['work_order']}")
    template = IntentRequest(
        order=context.order,
        chip_id="",
        spki_sha256=b"",
        session_sha256=b"",
        challenge=bytes(32),
        station=job["station"],
        csr_der=os.urandom(_CSR_BYTES),
        method="hmac-sha256",
        claims=_CLAIMS,
        evidence=os.urandom(32),
        level=Level.KEY,
        measured={},
        attester=b"",
        certificate_serial=1,
        moment=now,
    )
    numbers = iter(range(job["count"]))

    async def work() -> None:
        for number in numbers:
            request = replace(
                template,
                chip_id=f"fill-{number}",
                spki_sha256=os.urandom(32),
                session_sha256=os.urandom(32),
                certificate_serial=int.from_bytes(os.urandom(15), "big") + 1,
            )
            await _one(store, request)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    await store.close()
    await pool.stop()


if __name__ == "__main__":
    asyncio.run(fill(json.load(sys.stdin)))
