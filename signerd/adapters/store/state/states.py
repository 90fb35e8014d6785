"""`States`: the administration's state in memory, by its epoch (`core/state/administration.py`).

The writer puts each new one here before the commit that makes it, so that whoever reads an epoch in a
snapshot of the database finds the state that goes with that snapshot: a peer that is revoked is refused by
the first call after the commit, and a call that began before goes on with what it began with.
"""

from __future__ import annotations

from collections.abc import Callable

from signerd.adapters.store.boards.intents import IntentKeys
from signerd.adapters.store.state.proven_lists import ProvenLists
from signerd.core.state.administration import State
from signerd.core.state.boards import Boards
from signerd.core.state.kept import Changes
from signerd.errors import Fault

_KEPT = 64  # states; a snapshot is read within milliseconds


class States:
    """Written by the writer's thread, read by any."""

    def __init__(
        self,
        state: State,
        boards: Boards,
        intents: IntentKeys,
        entry_of: Callable[[int], bytes],
        changes: Changes | None = None,
    ) -> None:
        """`boards`: what the log says of them, and `changes` which entries made `state`. The writer notes
        each commit in both, before anybody hears of it. `intents` tells which of them are ours. `entry_of`
        gives an entry that is committed by its index, as it was logged."""
        self.boards = boards
        self.changes = changes or Changes()
        self.intents = intents
        self.entry_of = entry_of
        self.lists = ProvenLists()
        self._newest = state
        self._known = {state.epoch: state}

    @property
    def newest(self) -> State:
        """As of the last commit, or of the one under way."""
        return self._newest

    def of(self, epoch: int) -> State:
        """The state of a snapshot. Raises Fault: none of this log's has this epoch."""
        state = self._known.get(epoch)
        if state is None:
            raise Fault(
                f"the head in the database says epoch {epoch} of the administration, and the ledger"
                f" {self._newest.epoch}: somebody else changed the database. Restart signerd; see"
                ' docs/operations.md, "The tables are not what the ledger says"'
            )
        return state

    def put(self, state: State) -> None:
        """One that is about to be committed."""
        self._known[state.epoch] = state
        self._newest = state
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]

    def back_to(self, state: State) -> None:
        """The commit failed: this one goes on."""
        if self._newest is not state:
            self._known.pop(self._newest.epoch, None)
        self._newest = state
