"""The keys that a station pins for receipts: the log's, and those of witnesses.

The log's key has successors: while two of them sign, a station that pins either goes on. Where witnesses are
pinned, a receipt counts only if so many of them have cosigned its checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from birthmark.proof import ProofError, SignatureType, VerifierKey, parse_vkey

MAX_KEYS = 8  # of one log, one a line of the pinned file
MAX_WITNESSES = 16  # one a line of their file; what readers of the specification know at least


class LogKeyError(ValueError):
    """The text is no list of verifier keys of one log, or of witnesses."""


@dataclass(frozen=True, slots=True)
class Cosigners:
    """Witnesses, and how many of them have to have cosigned a checkpoint. Of none nothing is demanded."""

    witnesses: tuple[VerifierKey, ...] = ()
    at_least: int = 0


@dataclass(frozen=True, slots=True)
class LogKey:
    """A log's verifier key, as recordings of runs hold it too: its name, key id and public key."""

    name: str
    key_id: bytes  # 4 bytes
    public_key: bytes  # Ed25519, 32 bytes
    beside: tuple[LogKey, ...] = ()  # other keys of the same log, whose signature is as good
    cosigners: Cosigners = Cosigners()

    @property
    def verifiers(self) -> tuple[VerifierKey, ...]:
        """This one and those beside it."""
        return tuple(VerifierKey(each.name, each.public_key) for each in (self, *self.beside))


def parse_log_keys(text: str) -> LogKey:
    """Reads verifier keys of one log, one a line; empty lines and those that begin with # say nothing.

    Raises:
        LogKeyError: none, too many, one that is none, or of two logs.
    """
    lines = [line.strip() for line in text.splitlines()]
    keys = list(dict.fromkeys(_parse(line) for line in lines if line and not line.startswith("#")))
    if not 1 <= len(keys) <= MAX_KEYS:
        raise LogKeyError(f"{len(keys)} verifier keys, and not 1 to {MAX_KEYS}")
    first, *others = keys
    if any(other.name != first.name for other in others):
        raise LogKeyError("verifier keys of two logs")
    return replace(first, beside=tuple(others))


def parse_witnesses(text: str, at_least: int) -> Cosigners:
    """Reads verifier keys of witnesses, written as those of a log.

    Raises:
        LogKeyError: none, too many, one that is none, one key twice, or fewer than `at_least`.
    """
    lines = [line.strip() for line in text.splitlines()]
    keys = [_verifier(line) for line in lines if line and not line.startswith("#")]
    if not 1 <= len(keys) <= MAX_WITNESSES:
        raise LogKeyError(f"{len(keys)} witnesses, and not 1 to {MAX_WITNESSES}")
    if any(key.type is not SignatureType.COSIGNATURE for key in keys):
        raise LogKeyError("a verifier key is a log's, and not a witness's")
    if len({key.public_key for key in keys}) != len(keys):
        raise LogKeyError("one witness's key stands there twice: it counts as one")
    if at_least > len(keys):
        raise LogKeyError(f"{len(keys)} witnesses, of which {at_least} are to cosign")
    return Cosigners(tuple(keys), at_least)


def _verifier(line: str) -> VerifierKey:
    try:
        return parse_vkey(line)
    except ProofError as error:
        raise LogKeyError(str(error)) from error


def _parse(line: str) -> LogKey:
    key = _verifier(line)
    if key.type is not SignatureType.ED25519:
        raise LogKeyError("the verifier key is a witness's, and not a log's")
    return LogKey(key.name, key.key_id, key.public_key)
