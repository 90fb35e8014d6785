"""Where the log's tiles are unless the settings say otherwise: never lost together with the second place."""

from __future__ import annotations

from pathlib import Path

import pytest

from signerd.config import Config, DatabaseSettings, LedgerSettings, PublicationSettings, tiles_folder

BASE = Path("/var/lib/signerd")
HEAD = Path("/var/lib/signerd-head/checkpoint")


@pytest.mark.parametrize(
    ("url", "folder", "expected"),
    [
        ("sqlite:///data/signerd.sqlite", None, BASE / "data" / "tiles"),
        ("postgresql+psycopg://signerd@localhost/signerd", None, BASE / "tiles"),
        ("postgresql+psycopg://signerd@localhost/signerd", Path("/srv/tiles"), Path("/srv/tiles")),
    ],
)
def test_folder(url: str, folder: Path | None, expected: Path) -> None:
    config = Config.model_construct(
        database=DatabaseSettings(url=url),
        ledger=LedgerSettings.model_construct(head=HEAD),
        publication=PublicationSettings.model_construct(folder=folder),
    )
    assert tiles_folder(config, BASE) == expected
