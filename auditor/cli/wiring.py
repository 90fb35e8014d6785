"""Chooses the implementations: the one place where configuration, client and state meet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from auditor.adapters.client import Credentials, GrpcLog
from auditor.adapters.enrolment import load_cosigners, load_operations_cas, load_roots, load_vkey
from auditor.adapters.export import Export
from auditor.adapters.export_folder import ExportFolder
from auditor.adapters.state import SqliteState
from auditor.adapters.tile_log import TileLog
from auditor.adapters.workers import Workers, usual_count
from auditor.config import Config, load, read_text_file
from auditor.core.cosigners import Cosigners
from auditor.core.history import Trust
from auditor.core.identities import Identities, read_identities
from auditor.core.proofs import parse_vkey
from auditor.errors import ConfigError, Malformed
from auditor.lookup import Lookup
from auditor.ports import Log, Progress
from auditor.products import Products
from auditor.reread import Reader
from auditor.verify import Audit, Pinned
from birthmark.proof import VerifierKey, log_name


@dataclass(frozen=True, slots=True)
class Session:
    """An open state and a connection to signerd."""

    log: Log
    state: SqliteState
    pinned: Pinned
    workers: Workers

    def audit(self, progress: Progress, *, share: float) -> Audit:
        """An audit by the system's clock."""
        return Audit(
            self.log,
            self.state,
            self.pinned,
            clock=utc_now,
            progress=progress,
            judges=self.workers,
            share=share,
        )

    def export(self, folder: ExportFolder, progress: Progress) -> Export:
        """The verified ledger as files."""
        return Export(self.log, self.state, self.pinned, self.workers, folder, progress)

    @property
    def lookup(self) -> Lookup:
        """For questions about single things."""
        return Lookup(self.log, self.state, self.pinned.roots, self.pinned.identities, Products(self.log))


def utc_now() -> datetime:
    """The system's clock."""
    return datetime.now(UTC)


def pinned(config: Config, identities: Sequence[Path] = (), cosigners: Cosigners | None = None) -> Pinned:
    """The trust that the configuration and the command name; `cosigners`: instead of the configuration's.
    Raises ConfigError."""
    text = load_vkey(config.trust.log_vkey)
    key = parse_vkey(text)
    roots = load_roots(config.trust.device_root)
    digests = frozenset(sha256(root.public_bytes(Encoding.DER)).hexdigest() for root in roots)
    cas = load_operations_cas(config.signerd.operations_ca)
    log, number = log_name(key.name)  # a successor's key is that of the log, under another name
    trust = Trust(config.deployment, log, VerifierKey(log, key.public_key).text(), digests, cas, number)
    return Pinned(
        key,
        roots,
        trust,
        None if not identities else load_identities(identities),
        load_cosigners(config.trust) if cosigners is None else cosigners,
    )


def load_identities(files: Sequence[Path]) -> Identities:
    """The company's list of attestation keys, in one file or several. Raises ConfigError."""
    lists = []
    for file in files:
        data = read_text_file(file, "the list of attestation keys")
        try:
            lists.append(read_identities(data.decode("utf-8").splitlines()))
        except (Malformed, UnicodeDecodeError) as error:
            remedy = "Have the company export the list again"
            raise ConfigError(f"{file}: {error}. {remedy}") from error
    return Identities.joined(lists)


@contextlib.contextmanager
def session(
    path: Path,
    identities: Sequence[Path] = (),
    *,
    workers: int = 1,
    tiles: str = "",
    cosigners: Cosigners | None = None,
) -> Iterator[Session]:
    """Everything that a configuration file names, opened. Raises ConfigError.

    Args:
        path: of the configuration.
        identities: files of the company's own list of attestation keys.
        workers: processes that judge records; 0: one a processor.
        tiles: a folder or an address of published tiles, instead of signerd.
        cosigners: witnesses that have to have cosigned, instead of the configuration's.
    """
    config = load(path)
    trust = pinned(config, identities, cosigners)
    with (
        SqliteState.open(config.state) as state,
        _log(config, tiles) as log,
        Workers(workers or usual_count(), trust.identities) as judges,
    ):
        state.read_entry = Reader(log, state).entry
        yield Session(log, state, trust, judges)


def _log(config: Config, tiles: str) -> contextlib.AbstractContextManager[Log]:
    if tiles:
        return contextlib.nullcontext(TileLog(tiles))
    credentials = Credentials(
        read_text_file(config.signerd.operations_ca, "the operations CA"),
        read_text_file(config.identity.certificate, "our certificate"),
        read_text_file(config.identity.key, "our key"),
    )
    return GrpcLog(config.signerd.endpoint, credentials)
