"""A store that lost its end, and an operations CA: what `signerd ledger succeed` begins with."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from harness.store_world import NOW, ORIGIN, World, intent, issue, stock, with_terms
from signerd.adapters.log_succession import Done, Signers, Where, succeed
from signerd.adapters.operations_ca import OperationsCa, create_ca
from signerd.adapters.store import SqlStore
from signerd.core.approval.actions import Approval

LATER = NOW + timedelta(seconds=1)
SECOND = f"{ORIGIN}/successor-2"


@dataclass
class LostWorld:
    """`seen` is the newest checkpoint that a station has; the database is of before."""

    world: World
    ca: OperationsCa = field(default_factory=lambda: create_ca("test", NOW))
    seen: bytes = b""

    def copied(self, directory: Path) -> LostWorld:
        """The same in another directory."""
        shutil.copytree(self.world.database.parent, directory)
        return LostWorld(World(directory), self.ca, self.seen)

    @property
    def where(self) -> Where:
        """As the command finds it in the settings."""
        first = self.world.log_key.verifier
        named = (first, *(key.verifier for key in self.world.further))
        return Where(self.world.url, self.world.head_file, self.world.tiles, first, named)

    def signers(self, ca: OperationsCa | None = None) -> Signers:
        """Who signs; `ca` in the place of the installation's."""
        keys = [self.world.log_key, *self.world.further]
        signs = {key.verifier: key.sign_checkpoint for key in keys}
        return Signers(signs, self.world.commit_keys, ca or self.ca, (self.ca.certificate,))

    async def succeed(
        self, given: Sequence[bytes] = (), *, approval: Approval = None, now: datetime = LATER
    ) -> Done:
        """What the command does."""
        return await succeed(self.where, self.signers(), given, by="ann", approval=approval, now=now)

    def keep(self, name: str) -> Path:
        """A copy of the database, of a store that is closed."""
        copy = self.world.database.with_name(name)
        shutil.copy(self.world.database, copy)
        return copy


async def grow(store: SqlStore, *chips: str) -> bytes:
    """Boards of these chips are certified; the checkpoint over them."""
    for chip in chips:
        record = await issue(store, intent(chip))
        assert record.issued_index is not None
        await store.published(record.issued_index)
    return store.checkpoint()


async def lost_world(directory: Path, before: Callable[[World], Awaitable[None]] | None = None) -> LostWorld:
    """Three boards were certified, and a backup of after the first is all that is left. `before`: is done
    before that backup is made."""
    made = LostWorld(World(directory))
    made.world.create()
    async with made.world.opened() as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
    if before is not None:
        await before(made.world)
    backup = made.keep("backup")
    async with made.world.opened() as store:
        made.seen = await grow(store, "chip-2", "chip-3")
    made.world.restore(backup)
    return made
