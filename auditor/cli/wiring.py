"""Chooses the implementations: the one place where configuration, client and state meet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from auditor.adapters.client import Credentials, GrpcLog
from auditor.adapters.enrolment import load_root, load_vkey
from auditor.adapters.state import SqliteState
from auditor.config import Config, load, read_bytes
from auditor.core.history import Trust
from auditor.core.note import parse_vkey
from auditor.lookup import Lookup
from auditor.ports import Progress
from auditor.verify import Audit, Pinned


@dataclass(frozen=True, slots=True)
class Session:
    """An open state and a line to signerd."""

    log: GrpcLog
    state: SqliteState
    pinned: Pinned

    def audit(self, progress: Progress) -> Audit:
        """An audit by the system's clock."""
        return Audit(self.log, self.state, self.pinned, clock=utc_now, progress=progress)

    @property
    def lookup(self) -> Lookup:
        """For questions about single things."""
        return Lookup(self.log, self.state, self.pinned.root)


def utc_now() -> datetime:
    """The system's clock."""
    return datetime.now(UTC)


def pinned(config: Config) -> Pinned:
    """The trust that the configuration names. Raises ConfigError."""
    text = load_vkey(read_bytes(config.trust.log_vkey, "the log's verifier key"))
    key = parse_vkey(text)
    root = load_root(config.trust.device_root)
    digest = sha256(root.public_bytes(Encoding.DER)).digest()
    return Pinned(key, root, Trust(config.deployment, key.name, text, digest))


@contextlib.contextmanager
def session(path: Path) -> Iterator[Session]:
    """Everything that a configuration file names, opened. Raises ConfigError."""
    config = load(path)
    trust = pinned(config)
    credentials = Credentials(
        read_bytes(config.signerd.operations_ca, "the operations CA"),
        read_bytes(config.identity.certificate, "our certificate"),
        read_bytes(config.identity.key, "our key"),
    )
    with SqliteState.open(config.state) as state, GrpcLog(config.signerd.endpoint, credentials) as log:
        yield Session(log, state, trust)
