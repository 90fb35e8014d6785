"""The log's keys, one after the other: which of them must have signed a checkpoint.

The first is in `log_opened`. Each later one is announced by an entry, and begins to sign with an entry that
carries its proof: a checkpoint over the announcement, signed by the keys that signed then. So the way from
the first key to the newest one is in the log itself, whenever it is read, and nobody takes a step of it
without the keys of before.

    entry                       the key            a tree that has this entry is signed by
    checkpoint_key_added        is announced       the same keys as before
    checkpoint_key_activated    signs              the same keys as before, and this one
    checkpoint_key_retired      signs no more      the others

An entry that breaks a rule is a finding, and changes nothing of who has to sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from auditor.core.books import Books
from auditor.core.codes import Code
from auditor.core.entry import CheckpointKeyActivated, CheckpointKeyAdded, CheckpointKeyRetired
from auditor.core.findings import Finding, Rejected
from auditor.core.proofs import claimed_checkpoint, open_checkpoint, parse_vkey
from auditor.core.successions import origin_at
from auditor.errors import CheckFailed, Malformed
from birthmark.proof import Checkpoint, VerifierKey, log_name

_Steps = Mapping[str, Sequence[int | None]]
_ADDED, _ACTIVATED, _RETIRED = range(3)  # places in the steps of a key


def signers(books: Books, size: int) -> list[VerifierKey]:
    """Whose signatures a checkpoint of this size must bear, the oldest first, under the name of the log
    then."""
    keys = [parse_vkey(text) for text, steps in _known(books).items() if _signs(steps, size)]
    return [VerifierKey(origin_at(books, key.name, size), key.public_key) for key in keys]


def in_succession(books: Books, vkey: str) -> bool:
    """Whether the log's keys lead to this one, or begin with it."""
    steps = _known(books).get(vkey)
    return steps is not None and steps[_ACTIVATED] is not None


def check_signers(head: Checkpoint, keys: Sequence[VerifierKey]) -> None:
    """Raises Rejected, CHECKPOINT_SIGNATURE: one of these keys has not signed this checkpoint."""
    for key in keys:
        try:
            open_checkpoint(head.note, key)
        except CheckFailed as error:
            found = Finding(error.code, error.detail, None, None, error.expected, error.found)
            raise Rejected(found) from error
        except Malformed as error:
            raise Rejected(Finding(Code.CHECKPOINT_MALFORMED, str(error))) from error


def check_added(books: Books, index: int, entry: CheckpointKeyAdded) -> Iterator[Finding]:
    """A key of this log's name, once. It is sealed to token keys, or in a token."""
    known = _begun(books)
    problem = _unusable(books, entry.vkey)
    if entry.vkey in known:
        problem = "a key of this log already"
    if (entry.place == "sealed") != bool(entry.recipients):
        yield _off("what is sealed is sealed to token keys, and nothing else is", index, entry.place)
    if problem:
        yield _off(f"announced, and is {problem}", index, entry.vkey)
        return
    known[entry.vkey] = [index, None, None]


def check_activated(books: Books, index: int, entry: CheckpointKeyActivated) -> Iterator[Finding]:
    """Announced before, under a checkpoint of the keys that signed then."""
    known = _begun(books)
    steps = known.get(entry.vkey)
    if steps is None or steps[_ACTIVATED] is not None or steps[_RETIRED] is not None:
        yield _off("activated, and was not just announced", index, entry.vkey)
        return
    try:
        proof = proof_of(books, entry)
    except (CheckFailed, Malformed) as error:
        yield _off(f"activated without a checkpoint of the keys of before: {error}", index, entry.vkey)
        return
    if not (steps[_ADDED] or 0) < proof.size <= index:
        yield _off("activated by a checkpoint that is not over its announcement", index, str(proof.size))
        return
    steps[_ACTIVATED] = index


def proof_of(books: Books, entry: CheckpointKeyActivated) -> Checkpoint:
    """The checkpoint in an activation, once all who signed at its size have signed it. Whether it is of this
    tree, a consistency proof shows. Raises CheckFailed, Malformed."""
    data = entry.checkpoint.encode()
    (first, *_) = _known(books)
    origin = data.partition(b"\n")[0].decode()
    if log_name(origin)[0] != parse_vkey(first).name:
        raise Malformed("it is of another log")
    keys = signers(books, claimed_checkpoint(data, origin).size)
    if not keys:
        raise Malformed("nobody signed at its size")
    (proof, *_) = [open_checkpoint(data, key) for key in keys]
    return proof


def check_retired(books: Books, index: int, entry: CheckpointKeyRetired) -> Iterator[Finding]:
    """One that is known; another one goes on."""
    known = _begun(books)
    steps = known.get(entry.vkey)
    if steps is None or steps[_RETIRED] is not None:
        yield _off("retired, and was no key of the log", index, entry.vkey)
        return
    others = [text for text, other in known.items() if text != entry.vkey and _signs(other, index + 1)]
    if not others:
        yield _off("retired, and no other key signs", index, entry.vkey)
        return
    steps[_RETIRED] = index


def has_successors(books: Books) -> bool:
    """Whether another key than the first was announced."""
    return len(_known(books)) > 1


def _known(books: Books) -> _Steps:
    """With the first one."""
    first = {} if books.opened is None else {books.opened.vkey: [0, 0, None]}
    return {**first, **books.totals.checkpoint_keys}


def _begun(books: Books) -> dict[str, list[int | None]]:
    """The same, to be changed."""
    known = books.totals.checkpoint_keys
    if not known and books.opened is not None:
        known[books.opened.vkey] = [0, 0, None]
    return known


def _signs(steps: Sequence[int | None], size: int) -> bool:
    """A tree of n entries has those of the indexes below n."""
    activated, retired = steps[_ACTIVATED], steps[_RETIRED]
    return activated is not None and activated < size and (retired is None or retired >= size)


def _unusable(books: Books, vkey: str) -> str:
    try:
        key = parse_vkey(vkey)
    except Malformed:
        return "no verifier key"
    named = books.opened is not None and key.name == books.opened.origin
    return "" if named else "of another log's name"


def _off(detail: str, index: int, found: str) -> Finding:
    return Finding(Code.CHECKPOINT_KEY_HISTORY, detail, index, found=found)
