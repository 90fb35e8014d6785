"""A key holder and a successor of the log: a service notes which one it signed, and none goes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from signerd.adapters.keyholder.service.notes import About, Notes, create_notes, note_checkpoint
from signerd.core.approved_order import LeafRefusedError
from signerd.core.note import Checkpoint

LOG = "log.example/line"


def at(size: int, root: int = 0) -> Checkpoint:
    return Checkpoint(LOG, size, bytes([root]) * 32)


async def test_a_successor_begins_smaller_and_none_goes_back(tmp_path: Path) -> None:
    create_notes(tmp_path / "notes", About("main", "test", "key"))
    for start in range(2):  # over a restart
        notes = Notes.open(tmp_path / "notes")
        notes.start()

        async def noted(size: int, number: int, root: int = 0, notes: Notes = notes) -> None:
            await notes.note(lambda connection: note_checkpoint(connection, at(size, root), number))

        try:
            if start == 0:
                await noted(9, 1)
                await noted(5, 2)
            for size, number, root in ((4, 2, 0), (5, 2, 1), (99, 1, 0)):
                with pytest.raises(LeafRefusedError, match="put back"):
                    await noted(size, number, root)
            await noted(5, 2)
        finally:
            await notes.close()
