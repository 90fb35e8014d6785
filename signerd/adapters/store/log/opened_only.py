"""The second place's first mark, which nobody signed: it stands for a log that holds nothing but its opening.

`signerd init` writes it, and nothing else is entered before the first checkpoint is signed (`writer`). Beside
a ledger with more entries it is not the mark of this log's past: someone put it there, or restored it.
"""

from __future__ import annotations

import json

from sqlalchemy import Connection, select

from signerd.adapters.store.tables.database import reading_database
from signerd.adapters.store.tables.schema import entries
from signerd.core.entry import KeysCommitted, LogOpened
from signerd.core.note import Checkpoint
from signerd.errors import ConfigError

NOT_BEGUN = "the log's first checkpoint is not signed yet: nothing more is entered before"
_OPENING = (LogOpened.type, KeysCommitted.type)


def demand_only_opened(url: str, published: Checkpoint) -> None:
    """Does nothing where a checkpoint was signed.

    Raises:
        ConfigError: none was, and the ledger has more than its opening.
    """
    if published.size:
        return
    with reading_database(url, "cannot read the ledger") as connection:
        beyond = _beyond_opening(connection)
    if beyond:
        raise ConfigError(
            f"the second place says that no checkpoint was ever signed, and the ledger has a {beyond}:"
            ' put the newest checkpoint there, see docs/operations.md, "The second place is lost"'
        )


def _beyond_opening(connection: Connection) -> str:
    """The type of the first entry that is none of the opening, or an empty text."""
    asked = select(entries.c.data).order_by(entries.c.entry_index).limit(len(_OPENING) + 1)
    types = [str(json.loads(data)["type"]) for data in connection.execute(asked).scalars()]
    for count, found in enumerate(types, 1):
        if tuple(types[:count]) != _OPENING[:count]:
            return found
    return ""
