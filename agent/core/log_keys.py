"""The log's keys that a station pins. The log's key has successors: while two of them sign, a station that
pins either goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from birthmark.proof import ProofError, SignatureType, VerifierKey, parse_vkey

MAX_KEYS = 8  # of one log, one a line of the pinned file


class LogKeyError(ValueError):
    """The text is no list of verifier keys of one log."""


@dataclass(frozen=True, slots=True)
class LogKey:
    """A log's verifier key, as recordings of runs hold it too: its name, key id and public key."""

    name: str
    key_id: bytes  # 4 bytes
    public_key: bytes  # Ed25519, 32 bytes
    beside: tuple[LogKey, ...] = ()  # other keys of the same log, whose signature is as good

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


def _parse(line: str) -> LogKey:
    try:
        key = parse_vkey(line)
    except ProofError as error:
        raise LogKeyError(str(error)) from error
    if key.type is not SignatureType.ED25519:
        raise LogKeyError("the verifier key is a witness's, and not a log's")
    return LogKey(key.name, key.key_id, key.public_key)
