"""Puts boards by the thousand a second into a stopped signerd's database (`harness.bulk_writer`).

The certificates are signed by the installation's own sub-CA in its token, and the checkpoint by its key
holder. Reads its job as JSON from standard input, and writes what it took as JSON to standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sqlite3
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from harness.bulk_boards import BoardMaker, BulkTerms
from harness.bulk_writer import BulkWriter
from signerd import config as configuration
from signerd.adapters.checks import load_issuer
from signerd.adapters.commit_keys import CommitKeys, StartKey
from signerd.adapters.keyholder.pool import KeyHolderPool, settings_for
from signerd.adapters.keyholder.token import CaKey, Token
from signerd.adapters.pin import read_pin
from signerd.adapters.store.sqlstore import SqlStore
from signerd.core.product import parse_product

AT_ONCE = 10_000  # boards a transaction
CHIPS_AT_ONCE = 10_000  # a list


@dataclass(slots=True)
class Fill:
    """One installation, stopped."""

    config: configuration.Config
    base: Path
    work_order: str
    station: str

    async def open(self, pool: KeyHolderPool) -> SqlStore:
        """As `signerd run` does."""
        config = self.config
        return await SqlStore.open(
            configuration.database_url(config, self.base),
            head_file=config.ledger.head,
            tiles=configuration.tiles_folder(config, self.base),
            origin=config.ledger.origin,
            vkey=config.ledger.vkey.read_text(encoding="utf-8").strip(),
            sign_checkpoint=pool.sign_checkpoint,
            commit_keys=CommitKeys(pool.commit_key),
            now=_now(),
        )

    async def terms(self, pool: KeyHolderPool, key: CaKey, count: int) -> BulkTerms:
        """Personalizes the boards' chips, without a secret for them, and says what all boards share."""
        store = await self.open(pool)
        try:
            context = await store.call_context(
                peer_uri=self.station, work_order=self.work_order, chip_id="none", session_sha256=None
            )
            if context.order is None or context.product_toml is None:
                raise RuntimeError(f"no order {self.work_order}")
            product = parse_product(context.product_toml)
            terms = BulkTerms(
                context.order, product, load_issuer(self.config), self.station, key.sign,
            )  # fmt: skip
            names = [terms.chip_pattern.format(number) for number in range(1, count + 1)]
            for first in range(0, count, CHIPS_AT_ONCE):
                await store.personalize_chips(
                    names[first : first + CHIPS_AT_ONCE], locked=True, site="lab", key="hmac-sha256",
                    by="root", now=_now(),
                )  # fmt: skip
        finally:
            await store.close()
        return terms

    def write(self, terms: BulkTerms, start_key: StartKey, count: int) -> None:
        """The boards of places 1 to `count`."""
        database = Path(configuration.database_url(self.config, self.base).removeprefix("sqlite:///"))
        with sqlite3.connect(database) as db:
            (published,) = db.execute("SELECT size FROM head").fetchone()
        with BulkWriter(
            database, origin=self.config.ledger.origin, start_key=start_key, published=published, terms=terms
        ) as writer:
            for first in range(1, count + 1, AT_ONCE):
                maker = BoardMaker(terms, _now())
                writer.write(maker.board(number) for number in range(first, min(first + AT_ONCE, count + 1)))


async def fill(job: dict[str, Any]) -> dict[str, Any]:
    """Adds `count` boards, certified and stamped, to an order that has none."""
    path, count = Path(job["config"]), int(job["count"])
    config = configuration.load(path)
    pool = KeyHolderPool(settings_for(config), 1, on_change=lambda: None)
    pin = bytes(read_pin(config.hsm.pin, path.parent))
    await pool.start(bytearray(pin))  # a process of its own, and this one has no module loaded yet
    os.environ.update(config.hsm.environment)
    key = Token.open(str(config.hsm.module), config.hsm.token, pin.decode()).ca_key(config.hsm.ca_key)
    made = Fill(config, path.parent, job["work_order"], job["station"])
    terms = await made.terms(pool, key, count)
    began, cpu = time.monotonic(), _cpu()
    start_key = await CommitKeys(pool.commit_key).new()
    made.write(terms, start_key, count)
    wrote = {"boards": count, "write_s": time.monotonic() - began, "write_cpu_s": _cpu() - cpu}
    began = time.monotonic()
    store = await made.open(pool)  # looks at the MACs, signs the checkpoint and publishes
    await store.close()
    await pool.stop()
    return wrote | {"publish_s": time.monotonic() - began}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def main() -> None:
    """See the module."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # the result stands alone
    json.dump(asyncio.run(fill(json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
