"""Which tokens open what is sealed, in an installation that runs: one more, or one less.

The order is the security property:

    1  the token at hand opens each secret and seals it to the new list; a list that leaves it out is refused
    2  the ledger names the new list; durable
    3  the file changes

A crash between 2 and 3 leaves a token that the ledger names and that opens nothing yet, or one that still
opens and that the ledger no longer names. `check-config` says which, and the same command goes on from there:
the entry is not made twice. The other way round, a token could open what no entry speaks of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from signerd.adapters import durable_files
from signerd.adapters.installed_files import owner_of
from signerd.adapters.keyholder.resealing import Resealed, reseal
from signerd.adapters.keyholder.sealed_file import read_sealed_file
from signerd.adapters.one_at_a_time import alone
from signerd.adapters.start_faults import from_system, unreadable
from signerd.adapters.store import committed_recipients
from signerd.config import Config, database_url
from signerd.core.recipient import Recipient
from signerd.errors import Code, ConfigError, Refused

_SEALED_MODE = 0o600
_LEAST_DIGITS = 8  # of a key's digest that names it
Announce = Callable[[Sequence[bytes]], int]
"""Has the ledger name these recipients; its index."""


@dataclass(frozen=True, slots=True)
class KnownRecipient:
    """A token key, and who speaks of it. Both do, unless a change was interrupted."""

    spki_sha256: bytes
    in_file: Recipient | None
    in_ledger: bool

    @property
    def certain(self) -> bool:
        """Whether both speak of it."""
        return self.in_file is not None and self.in_ledger

    @property
    def state(self) -> str:
        """In words."""
        if self.in_file is None:
            return "announced, and nothing is sealed to it: add it again, or remove it"
        return (
            "opens"
            if self.in_ledger
            else "opens, and the ledger does not name it: remove it, or add it again"
        )


def known_recipients(config: Config, base: Path) -> list[KnownRecipient]:
    """Those of the file, then those of the ledger alone.

    Raises:
        ConfigError: nothing is sealed, or file or database cannot be read.
    """
    file = {recipient.spki_sha256(): recipient for recipient in read_sealed_file(_file(config)).recipients}
    committed = committed_recipients(database_url(config, base))
    ledger = () if committed is None else committed.recipients
    keys = [*file, *(each for each in ledger if each not in file)]
    return [KnownRecipient(each, file.get(each), each in ledger) for each in keys]


def with_one_more(known: Sequence[KnownRecipient], new: Recipient) -> list[Recipient]:
    """The list with this one. Raises Refused `already_exists`."""
    there = [each.in_file for each in known if each.in_file is not None]
    if any(each.in_file == new and each.in_ledger for each in known):
        raise Refused(Code.ALREADY_EXISTS, f"{new.spki_sha256().hex()} opens what is sealed already")
    return there if new in there else [*there, new]


def with_one_less(
    known: Sequence[KnownRecipient], digits: str, *, no_spare: bool
) -> tuple[bytes, list[Recipient]]:
    """Whom the digits name, and the list without it.

    Raises:
        Refused: `not_found`; `invalid`: they name several, are too few, or one alone would be left.
    """
    if len(digits) < _LEAST_DIGITS:
        raise Refused(Code.INVALID, f"name the key by at least {_LEAST_DIGITS} digits of its SHA-256")
    named = [each.spki_sha256 for each in known if each.spki_sha256.hex().startswith(digits.lower())]
    if not named:
        raise Refused(Code.NOT_FOUND, f"nothing is sealed to a key {digits}: signerd recipient list")
    if len(named) > 1:
        raise Refused(Code.INVALID, f"{digits} names {len(named)} keys: give more digits")
    left = [each.in_file for each in known if each.in_file is not None and each.spki_sha256 != named[0]]
    if len(left) < 2 and not no_spare:
        raise Refused(
            Code.INVALID,
            "what is sealed to one token alone is lost with it: add a spare before, or --no-spare",
        )
    return named[0], left


def opened_by(config: Config, pin: bytearray) -> Resealed:
    """Has the token of these settings open each secret; nothing changes. Raises as `reseal`."""
    sealed = read_sealed_file(_file(config))
    return asyncio.run(reseal(config, pin, _vkey(config), sealed.recipients))


def change(
    config: Config,
    base: Path,
    pin: bytearray,
    wanted: Callable[[Sequence[KnownRecipient]], Sequence[Recipient]],
    announce: Announce,
) -> tuple[Resealed, int]:
    """Steps 1 to 3; what is sealed now, and the ledger index of the entry.

    Raises:
        NotNow: another change is under way.
        ConfigError: nothing is sealed, a secret does not open, or the file cannot be written.
        Refused: what `wanted` refuses, or the token at hand is left out.
    """
    file = _file(config)
    with alone(file, "change of the recipients"):
        recipients = wanted(known_recipients(config, base))
        resealed = asyncio.run(reseal(config, pin, _vkey(config), recipients))
        index = announce([recipient.spki_sha256() for recipient in resealed.sealed.recipients])
        try:
            # Root may do it, for the user of a key holder's service.
            durable_files.replace(file, resealed.sealed.encode(), _SEALED_MODE, owner_of(file))
        except OSError as error:
            said = f"cannot write {error.filename}: {error.strerror}; ledger entry {index} stands: try again"
            raise from_system(said, error) from error
    return resealed, index


def _file(config: Config) -> Path:
    if config.hsm.sealed is None:
        raise ConfigError("nothing is sealed: each key is in the token, and no other token can open it")
    return config.hsm.sealed


def _vkey(config: Config) -> str:
    try:
        return config.ledger.vkey.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise unreadable(config.ledger.vkey, error) from error
