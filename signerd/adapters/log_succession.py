"""`signerd ledger succeed`: a log that lost its end goes on under another name (`core/succession.py`).

Order of writes, and what a crash after each means:

  1. `log_succeeded` in the database, in one transaction with its MAC: the second place is still of before, so
     signerd does not start. The command, given again, goes on with this entry.
  2. the first checkpoint under the new name is signed: the signatures are lost, nobody saw them. The same
     tree
     is signed again.
  3. the succession beside the second place: nobody is given it from there; the command writes it again.
  4. the note of before beside the second place, then the new one in it: from here on the log is the
     successor.
  5. the folder of tiles is moved away, since it has the log of before: until then a start refuses it by name,
     and the command, given again, moves it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from signerd.adapters import durable_files
from signerd.adapters.commit_keys import CommitKeys
from signerd.adapters.contradiction_file import contradiction_file
from signerd.adapters.head_file import PlaceOfBefore, succession_beside
from signerd.adapters.operations_ca import OperationsCa, digest
from signerd.adapters.start_faults import from_system
from signerd.adapters.store import known_log_keys
from signerd.adapters.store.boards.intents import intent_keys
from signerd.adapters.store.log.ledger import Sign
from signerd.adapters.store.log.succeeding import (
    LeftLedger,
    OpenOrder,
    Succeeded,
    enter_succession,
    open_orders,
    read_left,
    read_succeeded,
)
from signerd.adapters.tiles import TilesFolder
from signerd.core import receipt
from signerd.core.approval.actions import Approval, ShownApproval
from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.statement import parse_statement
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.entry import LogSucceeded
from signerd.core.note import Checkpoint, NoteError, VerifierKey, sign_note
from signerd.core.seen_checkpoint import counting_keys, open_seen
from signerd.core.succession import (
    MAX_ORIGIN,
    Known,
    Predecessor,
    Succession,
    SuccessionError,
    next_predecessors,
    number_of,
    origin_of,
    read_succession,
    statement,
    succession_file,
)
from signerd.errors import ConfigError, Fault, Unavailable

_MAX_FILE = 131_072  # bytes of a succession: an entry and a receipt


@dataclass(frozen=True, slots=True)
class Where:
    """The installation's files."""

    url: str
    head_file: Path
    tiles: Path
    first: VerifierKey  # of the log as it was opened
    named: tuple[VerifierKey, ...]  # all of the log's keys that the settings name

    @property
    def succession(self) -> Path:
        """The newest succession, beside the second place: no backup has it."""
        return succession_beside(self.head_file)


@dataclass(frozen=True, slots=True)
class Signers:
    """Who signs."""

    signs: Mapping[VerifierKey, Sign]
    commit_keys: CommitKeys
    ca: OperationsCa
    cas: tuple[x509.Certificate, ...]  # all that the installation trusts


@dataclass(frozen=True, slots=True)
class Done:
    """What the log is by now."""

    number: int
    origin: str
    vkeys: tuple[str, ...]  # of who signs it, under its name
    size: int
    continued: int
    lost: int  # entries of the log before
    predecessors: tuple[Predecessor, ...]
    kept: tuple[Path, ...]  # what was moved aside
    orders: tuple[OpenOrder, ...]


async def succeed(
    where: Where,
    signers: Signers,
    given: Sequence[bytes],
    *,
    by: str | None,
    approval: Approval,
    now: datetime,
) -> Done:
    """Makes the successor. `given`: checkpoints that anybody kept, signed notes.

    Raises:
        ConfigError: nothing is lost, too little is known, what is left is not signerd's, or a file cannot be
            written. Where nothing was entered yet, nothing was changed.
        Refused, WouldAppend: about its approval. Nothing was changed.
        NotNow: a signerd runs here.
        Fault: a key holder does not answer.
    """
    keys = await asyncio.to_thread(known_log_keys, where.url, where.first)
    with closing(PlaceOfBefore(where.head_file)) as place:
        try:
            known = [*_known_here(where, place, keys), *_known_of(given, keys, where, "--checkpoint")]
            found = await read_left(where.url, keys, known, signers.commit_keys)
            if not _is_begun(found, place, where):
                found = await _begin(found, where, signers, known, by=by, approval=approval, now=now)
            return await _finish(found, where, place, signers)
        except SuccessionError as error:
            raise ConfigError(str(error)) from error
        except OSError as error:
            raise from_system(f"cannot write {error.filename}: {error.strerror}", error) from error


def _known_here(where: Where, place: PlaceOfBefore, keys: LogKeys) -> list[Known]:
    found = [] if place.is_mark(keys.origin) else _known_of([place.note], keys, where, "the second place")
    kept = contradiction_file(where.head_file)
    with suppress(FileNotFoundError):
        found += _known_of([kept.read_bytes()], keys, where, str(kept))
    note = TilesFolder(where.tiles).note()
    with suppress(ConfigError):  # a copy, and perhaps of another log
        found += [] if note is None else _known_of([note], keys, where, "the folder of tiles")
    return found


def _known_of(notes: Iterable[bytes], keys: LogKeys, where: Where, what: str) -> list[Known]:
    found = []
    for note in notes:
        try:
            seen = open_seen(note, counting_keys(keys, where.named))
        except NoteError as error:
            raise ConfigError(f"{what} has no checkpoint of the log {keys.origin}: {error}") from error
        found.append(Known(number_of(seen.origin, keys.origin) or 1, seen.size, seen.root))
    return found


def _is_begun(found: LeftLedger, place: PlaceOfBefore, where: Where) -> bool:
    """Whether a command before this one was cut short after its entry."""
    if not found.ends_with_succession:
        return False
    origin = origin_of(found.keys.origin, found.keys.number).encode() + b"\n"
    note = TilesFolder(where.tiles).note()
    return not place.note.startswith(origin) or not (note is None or note.startswith(origin))


async def _begin(
    found: LeftLedger,
    where: Where,
    signers: Signers,
    known: Sequence[Known],
    *,
    by: str | None,
    approval: Approval,
    now: datetime,
) -> LeftLedger:
    lost = _kept_succession(where, signers.cas)
    predecessors = await asyncio.to_thread(next_predecessors, found.left, known, lost)
    number, continued = len(predecessors) + 1, found.ledger.size
    keys, root = found.keys, found.ledger.head.root
    origin = origin_of(keys.origin, number)
    if len(origin) > MAX_ORIGIN:
        raise SuccessionError(f"the successor's name {origin} is longer than {MAX_ORIGIN} characters")
    first, *_ = keys.signers(continued + 2)
    _demand_signers(keys, continued + 2, signers)
    text = statement(keys.origin, number, continued, root, predecessors)
    entry = LogSucceeded(
        time=now,
        by=by,
        number=number,
        origin=origin,
        vkey=first.named(origin).text(),
        continued=continued,
        root=root,
        predecessors=tuple(each.members() for each in predecessors),
        ca_sha256=digest(signers.ca.certificate),
        signature=_signature(signers.ca, text, approval),
    )
    key = await signers.commit_keys.new()
    intents = await intent_keys(where.url, key, keys.origin, signers.commit_keys)
    await asyncio.to_thread(enter_succession, found, entry, approval, intents, key)
    after = await asyncio.to_thread(known_log_keys, where.url, where.first)
    return await read_left(where.url, after, known, signers.commit_keys)


def _kept_succession(where: Where, cas: Sequence[x509.Certificate]) -> Succession | None:
    """The newest one that was signed: its entry may be lost, where a backup of before was restored again."""
    try:
        with where.succession.open("rb") as file:
            data = file.read(_MAX_FILE)
    except FileNotFoundError:
        return None
    try:
        members = json.loads(data.partition(b"\n")[0])
        said = read_succession(_index(data), members)
        text = statement(where.first.name, said.number, said.continued, said.root, said.predecessors)
        signature = bytes.fromhex(members["signature"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{where.succession} is no succession: {error}") from error
    if not any(_holds(ca, signature, text) for ca in cas):
        raise ConfigError(f"no operations CA of this installation signed {where.succession}")
    return said


def _index(data: bytes) -> int:
    """Of the receipt, in its second line (C2SP tlog-proof)."""
    line = data.split(b"\n", 3)[2]
    return int(line.removeprefix(b"index "))


def _holds(ca: x509.Certificate, signature: bytes, text: bytes) -> bool:
    key = ca.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature, text, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _signature(ca: OperationsCa, text: bytes, approval: Approval) -> bytes:
    """Of the operations CA: the one that administrators approved, where they did, since a second one over the
    same text is another."""
    if isinstance(approval, ShownApproval):
        with suppress(ApprovalError, KeyError, TypeError, ValueError, IndexError):
            approved = bytes.fromhex(parse_statement(approval.statement).entries[0]["signature"])
            if _holds(ca.certificate, approved, text):
                return approved
    return ca.key.sign(text, ec.ECDSA(hashes.SHA256()))


def _demand_signers(keys: LogKeys, size: int, signers: Signers) -> None:
    for key in keys.signers(size):
        if key not in signers.signs:
            raise Unavailable(
                f"the log's key {key.key_id.hex()} is to sign and is not in the settings ([hsm] or"
                " [[checkpoint_keys]]): put it back"
            )


async def _finish(found: LeftLedger, where: Where, place: PlaceOfBefore, signers: Signers) -> Done:
    keys = found.keys
    _demand_signers(keys, found.ledger.size, signers)
    succeeded = await asyncio.to_thread(read_succeeded, where.url)
    note = await _signed(succeeded, keys, signers)
    said = keys.successions[-1]
    proof = receipt.build(said.index, succeeded.inclusion, note)
    kept: list[Path] = []
    durable_files.replace(where.succession, succession_file(succeeded.entry, proof), 0o600)
    if place.note != note:
        kept.append(place.put(note, said.number))
    kept += _tiles_aside(where.tiles, keys, said.number)
    return Done(
        said.number,
        keys.origin_at(succeeded.size),
        tuple(key.named(keys.origin_at(succeeded.size)).text() for key in keys.signers(succeeded.size)),
        succeeded.size,
        said.continued,
        said.lost,
        said.predecessors,
        tuple(kept),
        tuple(open_orders(found)),
    )


async def _signed(succeeded: Succeeded, keys: LogKeys, signers: Signers) -> bytes:
    checkpoint = Checkpoint(keys.origin_at(succeeded.size), succeeded.size, succeeded.root)
    body = checkpoint.body()
    signed = [
        (key.named(checkpoint.origin), await signers.signs[key](body))
        for key in keys.signers(checkpoint.size)
    ]
    note = sign_note(body, *signed)
    try:
        keys.open(note)
    except NoteError as error:
        raise Fault(f"the key holder's signature does not hold: {error}") from error
    return note


def _tiles_aside(folder: Path, keys: LogKeys, number: int) -> list[Path]:
    """The folder of the log before, under another name: it may have the entries that are lost. The next start
    makes a new one."""
    note = TilesFolder(folder).note()
    if note is None or note.startswith(origin_of(keys.origin, number).encode() + b"\n"):
        return []
    aside = folder.with_name(f"{folder.name}.before-successor-{number}")
    if aside.exists():
        raise ConfigError(f"{aside} is there, and would be written over: move it away, and give this again")
    try:
        folder.rename(aside)
    except OSError as error:
        raise ConfigError(
            f"cannot move the folder of tiles {folder} to {aside} ({error.strerror}): the log is succeeded,"
            " and this folder has the log of before. Move what is in it away, and keep it: it may have the"
            " entries that are lost"
        ) from error
    durable_files.sync_directory(folder.parent)
    return [aside]
