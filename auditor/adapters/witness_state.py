"""What a witness keeps: its name and key, the logs that it follows, and the last tree of each that it
cosigned.

One SQLite database in the witness's folder, and the private key beside it. A cosignature is given away after
its tree is on the disk (`synchronous=FULL`), and the size that is compared and the size that is written are
one transaction, so that two requests, or two processes, cannot both pass. A crash before the commit leaves
the tree of before, and nobody has the cosignature. A crash after it leaves the new one: the log asks again,
and gets it.

A witness whose folder was lost or put back must not go on under its key: it could cosign a second history. So
nothing here is ever made by itself.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from auditor.core.witnessing import Kept
from auditor.errors import ConfigError
from birthmark.proof import Checkpoint, ProofError, SignatureType, VerifierKey, parse_vkey

DATABASE, KEY, VKEY = "witness.sqlite", "witness.key", "witness.vkey"
_FORM = 1
MAX_LOGS = 256
_TABLES = """
CREATE TABLE witness (id INTEGER PRIMARY KEY CHECK (id = 1), form INTEGER NOT NULL, vkey TEXT NOT NULL);
CREATE TABLE logs (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL);
CREATE TABLE log_keys (vkey TEXT PRIMARY KEY, origin TEXT NOT NULL REFERENCES logs);
"""
_NEW_WITNESS = "make a new one, with a new key: birthmark-auditor witness init"


def make_witness(folder: Path, name: str) -> VerifierKey:
    """A new key and an empty state, in a folder that is empty or not there.

    A crash leaves a folder without a verifier key, which `run` refuses; remove it.

    Raises:
        ConfigError: the folder is not empty, or cannot be written, or the name can be no key's.
    """
    private = Ed25519PrivateKey.generate()
    try:
        key = VerifierKey(name, private.public_key().public_bytes_raw(), SignatureType.COSIGNATURE)
    except ProofError as error:
        raise ConfigError(f"--name: {error}") from error
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty: name a folder for this witness alone")
        _write(folder / KEY, pem, 0o600)
        with _connected(folder, create=True) as database:
            database.executescript(_TABLES)
            database.execute("INSERT INTO witness VALUES (1, ?, ?)", (_FORM, key.text()))
            database.commit()
        _write(folder / VKEY, f"{key.text()}\n".encode(), 0o644)  # last: the witness is there
    except OSError as error:
        raise ConfigError(f"cannot make {folder}: {error.strerror}") from error
    return key


class WitnessState:
    """Of one witness, open."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError: there is none, it is damaged, or key and state are of two witnesses."""
        self._key = _read_key(folder)
        if not (folder / VKEY).is_file() or not (folder / DATABASE).is_file():
            raise ConfigError(f"{folder} holds no witness, or what is left of one: {_NEW_WITNESS}")
        self._database = _connected(folder, create=False)
        try:
            (form, text), *_ = self._database.execute("SELECT form, vkey FROM witness").fetchall()
            self.vkey = parse_vkey(text)
        except (sqlite3.Error, ValueError) as error:
            self._database.close()
            raise ConfigError(f"{folder / DATABASE} is damaged: {_NEW_WITNESS}") from error
        if form != _FORM or self.vkey.public_key != self._key.public_key().public_bytes_raw():
            self._database.close()
            raise ConfigError(f"{folder}: key and state are of two witnesses, or of another version")

    def close(self) -> None:
        """Lets go of the database."""
        self._database.close()

    def sign(self, message: bytes) -> bytes:
        """Ed25519."""
        return self._key.sign(message)

    def follow(self, keys: Sequence[VerifierKey]) -> None:
        """Follows a log from nothing, or takes further keys of one that it follows. A crash between two
        leaves the first: give the command again. Raises ConfigError."""
        for key in keys:
            if key.name not in self.logs and len(self.logs) >= MAX_LOGS:
                raise ConfigError(f"a witness follows {MAX_LOGS} logs at most")
            database = self._database
            database.execute("INSERT OR IGNORE INTO logs VALUES (?, 0, ?, ?)", (key.name, bytes(32), b""))
            database.execute("INSERT OR IGNORE INTO log_keys VALUES (?, ?)", (key.text(), key.name))

    @property
    def logs(self) -> Mapping[str, Sequence[VerifierKey]]:
        """The keys of each log, by its origin."""
        found: dict[str, list[VerifierKey]] = {}
        for origin, text in self._database.execute("SELECT origin, vkey FROM log_keys ORDER BY rowid"):
            found.setdefault(origin, []).append(parse_vkey(text))
        return found

    def kept(self, origin: str) -> Kept:
        """The last tree of this log."""
        size, root = self._database.execute(
            "SELECT size, root FROM logs WHERE origin = ?", (origin,)
        ).fetchone()
        return Kept(size, root)

    def note(self, origin: str) -> bytes:
        """The last checkpoint of this log that was cosigned, as it came; empty: none."""
        (note,) = self._database.execute("SELECT note FROM logs WHERE origin = ?", (origin,)).fetchone()
        return bytes(note)

    def replace(self, checkpoint: Checkpoint, judge: Callable[[Kept], None]) -> bool:
        """Puts the checkpoint in the place of the last one, if `judge` lets it pass, in one transaction. On
        the disk when it returns. Whether it was another one.

        Raises what `judge` raises, and sqlite3.Error.
        """
        self._database.execute("BEGIN IMMEDIATE")  # from here on nobody else writes
        try:
            kept = self.kept(checkpoint.origin)
            judge(kept)
            grown = (kept.size, kept.root) != (checkpoint.size, checkpoint.root)
            if grown:  # else no write
                self._database.execute(
                    "UPDATE logs SET size = ?, root = ?, note = ? WHERE origin = ?",
                    (checkpoint.size, checkpoint.root, checkpoint.note, checkpoint.origin),
                )
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        return grown


def _connected(folder: Path, *, create: bool) -> sqlite3.Connection:
    mode = "rwc" if create else "rw"
    try:
        database = sqlite3.connect(
            f"file:{folder / DATABASE}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
        )
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("PRAGMA synchronous = EXTRA")  # the directory too, after the journal is removed
        database.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error as error:
        raise ConfigError(f"cannot open {folder / DATABASE}: {error}") from error
    return database


def _read_key(folder: Path) -> Ed25519PrivateKey:
    path = folder / KEY
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}. Is this a witness's folder?") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} is no private key: {_NEW_WITNESS}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is no Ed25519 key: {_NEW_WITNESS}")
    return key


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
