"""Which tokens open what is sealed, in an installation that runs: one more, or one less.

What is sealed is in parts: the installation's own secrets, and the seed of each successor of the log's key
that is not retired. Each is opened by the token of its own settings. A change is one of all parts, so that
whoever is a recipient of one opens all that came after it. The order is the security property:

    1  for each part that changes: its token opens each secret, and seals it to the new list; a list that
       leaves this token out is refused
    2  the ledger names the new list; durable
    3  the files change, one after the other: the installation's own first, then those of the successors, the
       oldest first

A crash between 2 and 3, or between two files, leaves a token that the ledger names and that opens nothing
yet, or the older parts alone; or one that still opens, all or the newer parts, and that the ledger no longer
names. `check-config` says which, and the same command goes on from there: the entry is not made twice, and a
part that has changed is not opened again. The other way round, a token could open what no entry speaks of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from signerd.adapters import durable_files
from signerd.adapters.installed_files import owner_of
from signerd.adapters.keyholder.pool import rejected_pins, setup_for, setup_of_checkpoint_key
from signerd.adapters.keyholder.protocol import Mode, Setup
from signerd.adapters.keyholder.resealing import Resealed, reseal
from signerd.adapters.keyholder.sealed_file import read_sealed_file
from signerd.adapters.one_at_a_time import alone
from signerd.adapters.start_faults import from_system, unreadable
from signerd.adapters.store import committed_keys
from signerd.config import AnyTokenSettings, CheckpointKeySettings, HsmSettings, Keys
from signerd.core.note import NoteError, VerifierKey, parse_vkey
from signerd.core.recipient import Recipient
from signerd.core.sealing import SealedSecrets
from signerd.errors import Code, ConfigError, Refused, WrongSettings

_SEALED_MODE = 0o600
_LEAST_DIGITS = 8  # of a key's digest that names it
Announce = Callable[[Sequence[bytes]], int]
"""Has the ledger name these recipients; its index."""
Pins = Callable[[AnyTokenSettings], bytearray]
"""The PIN of a token. Whoever gave it wipes it."""


@dataclass(frozen=True, slots=True)
class SealedPart:
    """A file of what is sealed, and the token that opens it for a change."""

    key_id: str  # of a successor of the log's key; empty: the installation's own secrets
    settings: HsmSettings | CheckpointKeySettings
    file: Path
    vkey: str  # of the log's key in it, the commitment to its seed
    sealed: SealedSecrets
    named: tuple[bytes, ...]  # the recipients, as the ledger has them: SHA-256 of SubjectPublicKeyInfo

    @property
    def name(self) -> str:
        """In words."""
        return f"the seed of the log's key {self.key_id}" if self.key_id else "the installation's secrets"

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """Those of the file."""
        return self.sealed.recipients

    @property
    def secrets(self) -> list[str]:
        """What is in it, for people and machines."""
        if self.key_id:
            return [f"checkpoint-key {self.key_id}"]
        return [role.value for role in self.sealed.secrets]

    def setup(self) -> Setup:
        """The first frame for a key holder that seals it anew."""
        if isinstance(self.settings, HsmSettings):
            setup = setup_for(self.settings, Mode.RESEAL)
        else:
            setup = setup_of_checkpoint_key(self.settings, Mode.RESEAL)
        return replace(setup, vkey=self.vkey)


def read_parts(keys: Keys, database: str, head_file: Path) -> list[SealedPart]:
    """All that is sealed, the oldest first; empty where nothing is. A successor that the ledger does not know
    yet, or that is retired, is none.

    Args:
        keys: the settings of whoever has the tokens.
        database: signerd's, its URL.
        head_file: the second place: entries that its checkpoint covers say who opens each part.

    Raises:
        ConfigError: a file or the database cannot be read, or its entries are not those that were signed.
    """
    if keys.hsm.sealed is None and all(each.sealed is None for each in keys.checkpoint_keys):
        return []
    committed = committed_keys(database, head_file, _parsed(_vkey(keys.ledger.vkey)))
    last, successors = committed.last, committed.successors
    found: list[SealedPart] = []
    if keys.hsm.sealed is not None:
        sealed, named = read_sealed_file(keys.hsm.sealed), () if last is None else last.recipients
        found.append(SealedPart("", keys.hsm, keys.hsm.sealed, _vkey(keys.ledger.vkey), sealed, named))
    settings = {_vkey(each.vkey): each for each in keys.checkpoint_keys}
    for successor in successors:
        own = settings.get(successor.vkey)
        if successor.retired or own is None or own.sealed is None:
            continue
        key_id, sealed = _key_id(successor.vkey), read_sealed_file(own.sealed)
        found.append(SealedPart(key_id, own, own.sealed, successor.vkey, sealed, successor.recipients))
    return found


@dataclass(frozen=True, slots=True)
class KnownRecipient:
    """A token key, and who speaks of it. File and ledger do, unless a change was interrupted."""

    spki_sha256: bytes
    in_file: Recipient | None
    in_ledger: bool  # for all that it opens
    opens: tuple[SealedPart, ...]
    lacks: tuple[SealedPart, ...]  # what came later, and is not sealed to it

    @property
    def certain(self) -> bool:
        """Whether both speak of it, and it opens what came after the first that it opens."""
        return self.in_file is not None and self.in_ledger and not self.lacks

    @property
    def state(self) -> str:
        """In words."""
        if self.in_file is None:
            return "announced, and nothing is sealed to it: add it again, or remove it"
        if not self.in_ledger:
            return "opens, and the ledger does not name it: remove it, or add it again"
        if self.lacks:
            return f"does not open {_listed(self.lacks)}: add it again"
        return f"opens {_listed(self.opens)} alone" if self.opens[0].key_id else "opens"


def known_recipients(parts: Sequence[SealedPart]) -> list[KnownRecipient]:
    """Those of the files, then those of the ledger alone."""
    keys: dict[bytes, Recipient | None] = {
        recipient.spki_sha256(): recipient for part in parts for recipient in part.recipients
    }
    for part in parts:
        keys |= {each: None for each in part.named if each not in keys}
    return [_known(parts, *each) for each in keys.items()]


def _known(parts: Sequence[SealedPart], spki_sha256: bytes, key: Recipient | None) -> KnownRecipient:
    opens = tuple(part for part in parts if key in part.recipients)
    later = parts[parts.index(opens[0]) :] if opens else []
    return KnownRecipient(
        spki_sha256,
        key,
        all(spki_sha256 in part.named for part in opens),
        opens,
        tuple(part for part in later if part not in opens),
    )


def with_one_more(parts: Sequence[SealedPart], new: Recipient) -> list[list[Recipient]]:
    """The list of each part with this one. Raises Refused `already_exists`."""
    spki_sha256 = new.spki_sha256()
    if all(new in part.recipients and spki_sha256 in part.named for part in parts):
        raise Refused(Code.ALREADY_EXISTS, f"the key {spki_sha256.hex()} is a recipient already")
    return [list(dict.fromkeys((*part.recipients, new))) for part in parts]


def with_one_less(
    parts: Sequence[SealedPart], digits: str, *, no_spare: bool
) -> tuple[bytes, list[list[Recipient]]]:
    """Whom the digits name, and the list of each part without it.

    Raises:
        Refused: `not_found`; `invalid`: they name several, are too few, or one alone would be left.
    """
    if len(digits) < _LEAST_DIGITS:
        raise Refused(Code.INVALID, f"name the key by at least {_LEAST_DIGITS} digits of its SHA-256")
    known = [each.spki_sha256 for each in known_recipients(parts)]
    named = [each for each in known if each.hex().startswith(digits.lower())]
    if not named:
        raise Refused(Code.NOT_FOUND, f"nothing is sealed to a key {digits}: signerd recipient list")
    if len(named) > 1:
        raise Refused(Code.INVALID, f"{digits} names {len(named)} keys: give more digits")
    left = [[each for each in part.recipients if each.spki_sha256() != named[0]] for part in parts]
    if not no_spare and any(len(recipients) < 2 for _, recipients in _changing(parts, left)):
        raise Refused(
            Code.INVALID,
            "only one token would be left, and the sealed keys are lost with it: add a spare first"
            " (`signerd recipient add`), or give --no-spare",
        )
    return named[0], left


@dataclass(frozen=True, slots=True)
class Opened:
    """What a token opens, and that it is this installation's."""

    own: Recipient
    secrets: list[str]


def opened_by(keys: Keys, parts: Sequence[SealedPart], pin: bytearray) -> Opened:
    """Has the token of these parts open each secret; nothing changes. Raises as `reseal`, with the part."""
    opened = [_resealed(keys, part, pin, part.recipients) for part in parts]
    return Opened(opened[0].own, [secret for part in parts for secret in part.secrets])


def change(
    keys: Keys,
    read: Callable[[], Sequence[SealedPart]],
    pins: Pins,
    wanted: Callable[[Sequence[SealedPart]], Sequence[Sequence[Recipient]]],
    announce: Announce,
) -> tuple[list[bytes], int]:
    """Steps 1 to 3; who is a recipient now, and the ledger index of the entry.

    Args:
        keys: the settings of whoever has the tokens.
        read: the parts, as `demand_parts`.
        pins: of the token of each part that changes.
        wanted: the new list of each part.
        announce: step 2.

    Raises:
        NotNow: another change is under way.
        ConfigError: nothing is sealed, a secret does not open, or a file cannot be written.
        Refused: what `wanted` refuses, or a token at hand is left out.
    """
    with alone(read()[0].file, "change of the recipients", by_root=True):
        parts = read()
        lists = wanted(parts)
        resealed = {
            part.file: _resealed(keys, part, pins(part.settings), recipients)
            for part, recipients in _changing(parts, lists)
        }
        named = dict.fromkeys(recipient.spki_sha256() for each in lists for recipient in each)
        index = announce(list(named))
        for file, each in resealed.items():
            _write(file, each, index)
    return list(named), index


def demand_parts(keys: Keys, database: str, head_file: Path) -> list[SealedPart]:
    """As `read_parts`. Raises ConfigError also where nothing is sealed."""
    parts = read_parts(keys, database, head_file)
    if not parts:
        raise ConfigError("nothing is sealed: each key is in the token, and no other token can open it")
    return parts


def _changing(
    parts: Sequence[SealedPart], lists: Sequence[Sequence[Recipient]]
) -> Iterator[tuple[SealedPart, Sequence[Recipient]]]:
    """The parts whose list is another one. All, where the ledger alone is behind: what it will name has been
    opened."""
    each = list(zip(parts, lists, strict=True))
    yield from [(part, new) for part, new in each if list(part.recipients) != list(new)] or each


def _resealed(keys: Keys, part: SealedPart, pin: bytearray, recipients: Sequence[Recipient]) -> Resealed:
    try:
        return asyncio.run(
            reseal(part.setup(), part.settings, pin, rejected_pins(keys, part.settings), recipients)
        )
    except (ConfigError, WrongSettings) as error:
        if not part.key_id:
            raise
        raise ConfigError(f"{part.name}: {error}") from error


def _write(file: Path, resealed: Resealed, index: int) -> None:
    """A crash leaves the old file or the new one; see above."""
    try:
        # Root may do it, for the user of a key holder's service.
        durable_files.replace(file, resealed.sealed.encode(), _SEALED_MODE, owner_of(file))
    except OSError as error:
        said = f"cannot write {error.filename}: {error.strerror}; ledger entry {index} stands: try again"
        raise from_system(said, error) from error


def _listed(parts: Sequence[SealedPart]) -> str:
    return " and ".join(part.name for part in parts)


def _vkey(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise unreadable(path, error) from error


def _key_id(vkey: str) -> str:
    return _parsed(vkey).key_id.hex()


def _parsed(vkey: str) -> VerifierKey:
    try:
        return parse_vkey(vkey)
    except NoteError as error:
        raise ConfigError(f"{vkey!r} is no verifier key: {error}") from error
