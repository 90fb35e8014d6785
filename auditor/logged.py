"""Is this certificate in the ledger? Asked of the kept state, of signerd, of tiles, or of a receipt.

Each of these functions returns only what it verified, together with the size of the tree that it speaks of.
Whoever holds a folder of tiles and the log's key, or a receipt and its entry, needs no signerd and no state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography import x509

from auditor.core.books import CertificateState
from auditor.core.codes import Code
from auditor.core.cosigners import Cosigners
from auditor.core.entry import LogSucceeded, parse_entry
from auditor.core.findings import Finding, Rejected
from auditor.core.log_keys import in_succession, signers
from auditor.core.proofs import (
    has_signature,
    no_signature,
    open_checkpoint,
    translated,
    verify_receipt,
)
from auditor.core.standing import Answer, Search, Standing, Subject, of_entry
from auditor.core.successions import words_of
from auditor.errors import CheckFailed, ConfigError, Malformed, NotFound, Unreachable
from auditor.head import check_continues, read_head
from auditor.ports import Kept, Log, Progress, State
from birthmark.proof import (
    Checkpoint,
    Frontier,
    ProofError,
    Reason,
    Succession,
    TileTree,
    VerifiedReceipt,
    VerifierKey,
    leaf_hash,
    log_name,
    open_succession,
    parse_receipt,
)
from birthmark.proof.tile import Read

_SUCCEEDED = b'"type":"log_succeeded"'  # its quotation marks would be escaped in any text
CHUNK = 8_192  # entries a call of signerd's, and between two reports of progress


@dataclass(frozen=True, slots=True)
class Answers:
    """What was found out of a tree of this size. `whole` False: of one of its entries alone."""

    tree_size: int
    answers: tuple[Answer, ...]
    whole: bool
    findings: tuple[Finding, ...] = ()  # of earlier runs, about these certificates
    losses: tuple[str, ...] = ()  # where the log lost entries: who is not in it may have been


@dataclass(frozen=True, slots=True)
class Held:
    """What a reader of tiles or of a receipt holds of its own, and the log's newest succession beside it."""

    log_key: VerifierKey
    operations_cas: Sequence[x509.Certificate] = ()  # who may sign a successor of the log; none: nobody
    succession: bytes = b""  # not verified

    def key_of(self, note: bytes) -> VerifierKey:
        """The pinned key under the name of this checkpoint's log, where that is a successor's that both keys
        have signed. Raises CheckFailed: it is not proven to be."""
        origin = note.partition(b"\n")[0].decode("utf-8", "replace")
        (log, own), (shown, number) = log_name(self.log_key.name), log_name(origin)
        if shown != log or number == own:
            return self.log_key
        remedy = "Take the verifier key of this name from the company (--vkey)"
        if number < own:
            raise CheckFailed(Code.ROLLBACK, f"it is of {origin}, the log of before. {remedy}")
        found = self.succeeded()
        if found is None:
            detail = f"it is of {origin}: the log lost its end, and goes on under this name. {remedy}"
            if self.succession and not self.operations_cas:
                detail += ", or ask with the settings (-c), which name the operations CA"
            raise CheckFailed(Code.LOG_SUCCEEDED, detail)
        if number > found.number:
            raise CheckFailed(Code.SUCCESSION_HISTORY, f"it is of {origin}, and the succession is older")
        return VerifierKey(origin, self.log_key.public_key)

    def succeeded(self) -> Succession | None:
        """The succession, verified; None: there is none, or nobody who may sign one is known. Raises
        CheckFailed: it does not hold."""
        if not self.succession or not self.operations_cas:
            return None
        try:
            return open_succession(self.succession, [self.log_key], self.operations_cas)
        except ProofError as error:
            raise CheckFailed(Code.SUCCESSION_HISTORY, f"the log's succession: {error}") from error

    def demand_left(self, note: bytes, index: int) -> None:
        """Raises CheckFailed: this entry of the log of before is of the part that was lost."""
        found = self.succeeded()
        _, number = log_name(note.partition(b"\n")[0].decode("utf-8", "replace"))
        if found is None or number >= found.number or index < found.predecessors[number - 1].continued:
            return
        detail = (
            f"entry {index} is of the part of the log that was lost: {found.origin} has another one there."
            " With --entry FILE the receipt shows what was signed"
        )
        raise CheckFailed(Code.LOG_SUCCEEDED, detail)


def from_state(state: State, subjects: Sequence[Subject]) -> Answers:
    """By the last run of `verify`. Raises ConfigError where there was none."""
    kept = _kept(state)
    search = Search(subjects, _known(state, subjects))
    return _answers(kept.frontier.size, search, state)


def live(
    log: Log,
    state: State,
    log_key: VerifierKey,
    cosigners: Cosigners,
    subjects: Sequence[Subject],
    progress: Progress,
) -> Answers:
    """By the last run and by what signerd shows to have come since. Nothing of it is kept.

    Raises:
        Rejected: what signerd shows does not continue the kept tree, or no known key has signed it.
        CheckFailed: an entry about a subject is none, or too few witnesses have cosigned.
        Unreachable: signerd does not answer.
    """
    kept = _kept(state)
    own = in_succession(state, VerifierKey(log_name(log_key.name)[0], log_key.public_key).text())
    keys = signers(state, kept.checkpoint.size) if own else [log_key]
    shown = read_head(log, keys)
    if shown.doubt is not None:
        raise Rejected(shown.doubt)
    head = shown.checkpoint
    if head.origin != keys[0].name:
        detail = "the log has a successor: run `verify`, which follows it, and ask again"
        raise Rejected(Finding(Code.LOG_SUCCEEDED, detail, None, None, keys[0].name, head.origin))
    cosigners.demand(head)
    check_continues(log, head, kept.checkpoint)
    search, frontier = Search(subjects, _known(state, subjects)), kept.frontier.copy()
    while frontier.size < head.size:
        before = frontier.size
        end = min(head.size, before + CHUNK)
        _feed(search, frontier, _entries_of(log, before, end))
        if frontier.size < end:
            raise Rejected(Finding(Code.ENTRIES_MISSING, "signerd does not hand over all entries", end))
        progress("entries", frontier.size, head.size)
    if frontier.root() != head.root:
        raise Rejected(Finding(Code.ENTRY_NOT_IN_TREE, "the new entries are not those of the head's tree"))
    return _answers(head.size, search, state)


def from_tiles(
    read: Read,
    checkpoint: bytes,
    held: Held,
    cosigners: Cosigners,
    subjects: Sequence[Subject],
    progress: Progress,
) -> Answers:
    """By a folder of tiles: all entries are read, and their root must be the checkpoint's.

    Raises:
        Malformed: a tile or the checkpoint is not of its form.
        CheckFailed: the key did not sign the checkpoint, too few witnesses have cosigned it, or the entries
            are not those of its tree.
        Unreachable: a tile is missing.
    """
    head = _signed(checkpoint, held)
    cosigners.demand(head)
    search, frontier, successions = Search(subjects), Frontier(), list[tuple[int, bytes]]()
    tree = TileTree(head.size, read)
    while frontier.size < head.size:
        end = min(head.size, frontier.size + CHUNK)
        with _tiles():
            entries = tree.entries(frontier.size, end)
            _feed(search, frontier, _noting(entries, frontier.size, successions))
        progress("entries", frontier.size, head.size)
    if frontier.root() != head.root:
        raise CheckFailed(
            Code.ENTRY_NOT_IN_TREE,
            "the entries of the tiles are not those that the log's key has signed",
            expected=head.root.hex(),
            found=frontier.root().hex(),
        )
    losses = _losses(successions, held.log_key.name)
    return Answers(head.size, tuple(search.answers()), whole=True, losses=losses)


def from_receipt(
    receipt: bytes,
    entry_at: Callable[[int, int], bytes],
    held: Held,
    cosigners: Cosigners,
    subject: Subject,
) -> Answers:
    """By a receipt, which shows one entry of the subject and nothing that came later.

    Args:
        receipt: a tlog-proof.
        entry_at: the entry's bytes, by its index and the size of the receipt's tree.
        held: pinned. With a succession the entry has to be of the part that went on.
        cosigners: pinned, and how many of them have to have cosigned its checkpoint.
        subject: what the entry is to be about.

    Raises:
        Malformed: it is no receipt.
        CheckFailed: it proves nothing, too few witnesses have cosigned it, or the entry is about something
            else.
        Unreachable: the entry's tile is missing.
    """
    with translated():
        claimed = parse_receipt(receipt)
    size = _signed(claimed.note, held).size
    held.demand_left(claimed.note, claimed.index)
    data = entry_at(claimed.index, size)
    verified = verify_receipt(receipt, data, held.key_of(claimed.note))
    cosigners.demand(verified.checkpoint)
    standing = of_entry(verified.index, data)
    if standing is None or not _is_of(standing, subject):
        raise CheckFailed(
            Code.NOT_INCLUDED,
            "the receipt proves an entry about something else",
            expected=subject.asked,
            found="no certificate" if standing is None else f"board {standing.serial_number}",
        )
    return Answers(size, (Answer(subject, (standing,)),), whole=False)


def open_receipt(receipt: bytes, entry: bytes, held: Held) -> VerifiedReceipt:
    """Verifies a receipt with the pinned key, also of a later name of its log (`Held`). Raises Malformed,
    CheckFailed."""
    with translated():
        note = parse_receipt(receipt).note
    return verify_receipt(receipt, entry, held.key_of(note))


def entry_of_tiles(read: Read) -> Callable[[int, int], bytes]:
    """For `from_receipt`: the entry as a folder of tiles has it."""

    def entry_at(index: int, size: int) -> bytes:
        with _tiles():
            return TileTree(size, read).entry(index)

    return entry_at


def _signed(checkpoint: bytes, held: Held) -> Checkpoint:
    """A checkpoint of the pinned key. Raises Malformed, CheckFailed."""
    log_key = held.key_of(checkpoint)
    if not has_signature(checkpoint, log_key):
        lacking = no_signature(checkpoint, log_key)
        detail = "the checkpoint is another log's, or of a newer key of this one (--vkey, then)"
        raise CheckFailed(lacking.code, detail, expected=lacking.expected, found=lacking.found)
    return open_checkpoint(checkpoint, log_key)


def _kept(state: State) -> Kept:
    kept = state.kept()
    if kept is None:
        raise ConfigError("nothing was verified yet: run `birthmark-auditor verify`, or ask with --tiles")
    return kept


def _known(state: State, subjects: Sequence[Subject]) -> Iterator[Standing]:
    """What the books say of the subjects' boards, all certificates of each."""
    boards: dict[str, None] = {}
    for subject in subjects:
        digest = subject.certificate_sha256
        certificate = None if digest is None else state.certificate(digest)
        if certificate is not None:
            boards[certificate.serial_number] = None
        elif subject.serial_number is not None:
            boards[subject.serial_number] = None
    for serial_number in boards:
        yield from map(_standing, state.certificates_of(serial_number=serial_number))


def _standing(certificate: CertificateState) -> Standing:
    return Standing(
        certificate.certificate_sha256,
        certificate.serial_number,
        certificate.chip_id,
        certificate.work_order,
        issued_index=certificate.index,
        stamped_index=certificate.stamped_index,
        revoked_index=certificate.revoked_index,
    )


def _answers(size: int, search: Search, state: State) -> Answers:
    answers = tuple(search.answers())
    boards = {standing.serial_number for answer in answers for standing in answer.standings}
    found = (item.finding for item in state.findings())
    concerned = tuple(finding for finding in found if finding.serial_number in boards)
    log = "" if state.opened is None else state.opened.origin
    losses = _losses(state.entries(kinds=(LogSucceeded.type,)), log)
    return Answers(size, answers, whole=True, findings=concerned, losses=losses)


def _losses(successions: Iterable[tuple[int, bytes]], origin: str) -> tuple[str, ...]:
    """What a reader is to know of successors of the log, by their entries."""
    log, _ = log_name(origin)
    read = ((index, parse_entry(data)) for index, data in successions)
    return tuple(words_of(index, entry, log) for index, entry in read if isinstance(entry, LogSucceeded))


def _noting(entries: Iterable[bytes], start: int, found: list[tuple[int, bytes]]) -> Iterator[bytes]:
    """The same entries, and those that make a successor of the log, with their indexes."""
    for index, data in enumerate(entries, start):
        if _SUCCEEDED in data:
            found.append((index, data))
        yield data


def _feed(search: Search, frontier: Frontier, entries: Iterable[bytes]) -> None:
    """Has the entries looked at and added to the tree, in one pass."""

    def leaves() -> Iterator[bytes]:
        for index, data in enumerate(entries, frontier.size):
            search.take(index, data)
            yield leaf_hash(data)

    frontier.extend(leaves())


def _entries_of(log: Log, start: int, end: int) -> Iterator[bytes]:
    try:
        yield from log.entries(start, end)
    except (Malformed, NotFound) as error:
        raise Rejected(Finding(Code.ANSWER_MALFORMED, f"entries: {error}", start)) from error


def _is_of(standing: Standing, subject: Subject) -> bool:
    return standing.certificate_sha256 == subject.certificate_sha256 or (
        standing.serial_number == subject.serial_number
    )


@contextmanager
def _tiles() -> Iterator[None]:
    try:
        yield
    except ProofError as error:
        if error.reason is Reason.MISSING:
            raise Unreachable(f"{error}. Fetch the folder of tiles again, as a whole") from error
        raise Malformed(str(error)) from error
