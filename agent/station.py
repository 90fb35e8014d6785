"""What the boards of all ports of a station share."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from agent.core.bundle import Bundle
from agent.core.certificate import Trust
from agent.core.events import Progress
from agent.core.log_keys import LogKey
from agent.core.recipe import Recipe
from agent.ports import Clock, Journal, KeepRecording, Labels, Signer
from agent.steps import Bounds


@dataclass(frozen=True, slots=True)
class KeyDemands:
    """What a work order asks of a board before there is a key."""

    key_type: str  # the preferred one
    methods: tuple[str, ...]  # of evidence


@dataclass(frozen=True)
class StationContext:
    """What the boards of all ports share."""

    signer: Signer
    journal: Journal
    progress: Progress
    clock: Clock
    trust: Trust
    recipe: Recipe
    bounds: Bounds
    bundle: Bundle | None = None  # the firmware that this station flashes and seals
    labels: Labels | None = None
    board_retries: int = 0  # whole ways of a board that failed and may pass
    busy_chips: set[str] = field(default_factory=set)  # chips on their way now
    demands: dict[str, KeyDemands] = field(default_factory=dict)  # by work order, as signerd last said
    random_bytes: Callable[[int], bytes] = secrets.token_bytes  # for challenges of the station's own
    keep_recording: KeepRecording | None = None  # None: runs are not recorded
    followed: Callable[[], LogKey] | None = None  # the log's key by now; None: the one that is pinned

    def trust_now(self) -> Trust:
        """What receipts are held against: the log may have a successor since the start."""
        return self.trust if self.followed is None else replace(self.trust, log_key=self.followed())

    def log_key(self) -> LogKey:
        """The key of it."""
        return self.trust_now().log_key
