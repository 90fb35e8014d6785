"""Names that cross a boundary of trust, with their bounds (docs/formats.md, "Names and bounds")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, StrEnum

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CHIP_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_COMPONENT = re.compile(r"[A-Za-z0-9._-]{1,32}")
_ADMINISTRATOR = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_PEER = re.compile(
    r"birthmark://(?P<deployment>[^/]{1,64})/"
    r"(?:station/(?P<site>[^/]{1,64})/(?P<station>[^/]{1,64})|auditor/(?P<auditor>[^/]{1,64}))"
)


def is_name(text: str) -> bool:
    """True for a deployment, site, peer, work order or product name."""
    return _NAME.fullmatch(text) is not None


def is_chip_id(text: str) -> bool:
    """True for a chip id, and for a board's serial number, which has the same form."""
    return _CHIP_ID.fullmatch(text) is not None


def is_component(text: str) -> bool:
    """True for the name of a firmware component or of a lock."""
    return _COMPONENT.fullmatch(text) is not None


def is_administrator(text: str) -> bool:
    """True for the name that an administrator gives in a command."""
    return _ADMINISTRATOR.fullmatch(text) is not None


class Role(StrEnum):
    """What a peer of the operations tree may be."""

    STATION = "station"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True)
class PeerName:
    """The URI SAN of a peer's certificate, taken apart."""

    uri: str
    deployment: str
    role: Role
    site: str  # empty for auditors
    name: str


def parse_peer_uri(uri: str) -> PeerName:
    """Takes `birthmark://<deployment>/station/<site>/<name>` or `…/auditor/<name>` apart.

    Raises:
        ValueError: the text is neither.
    """
    match = _PEER.fullmatch(uri)
    if match is None:
        raise ValueError("not a peer URI")
    parts = match.groupdict()
    for part in parts.values():
        if part is not None and not is_name(part):
            raise ValueError("not a peer URI")
    if parts["auditor"] is not None:
        return PeerName(uri, parts["deployment"], Role.AUDITOR, "", parts["auditor"])
    return PeerName(uri, parts["deployment"], Role.STATION, parts["site"], parts["station"])


class Level(Enum):
    """How much evidence says. Ordered: `NONE < CHIP < KEY`."""

    NONE = 1
    CHIP = 2
    KEY = 3

    def __lt__(self, other: Level) -> bool:
        return self.value < other.value

    @property
    def label(self) -> str:
        """As it stands in files and in the ledger."""
        return self.name.lower()

    @classmethod
    def from_label(cls, label: str) -> Level:
        """Raises ValueError for anything but `none`, `chip`, `key`."""
        for level in cls:
            if level.label == label:
                return level
        raise ValueError(f"no evidence level {label!r}: use none, chip or key")


FIRST = "main"
"""The name of the CA that `signerd init` makes, and of its first issuer. Products name it by default."""


class Place(StrEnum):
    """Where a key is that the token need not be able to hold."""

    TOKEN = "token"  # noqa: S105  # made there, and never outside it
    SEALED = "sealed"
    NONE = "none"  # the chip master key, where no product uses it; both, beside a further CA key


class MacKey(StrEnum):
    """Keys that are derived from the master key for one chip each (docs/formats.md, "Chip keys")."""

    CHIP = "chip"  # method hmac-sha256
    PSA_IAK = "psa-iak"  # method psa-token, COSE_Mac0


@dataclass(frozen=True, slots=True)
class MacQuestion:
    """Is this the MAC of the message under the chip's key? Only the key holder can say."""

    chip_id: str
    key: MacKey
    hash: str  # HMAC with "sha256", "sha384" or "sha512"; with `MacKey.CHIP` sha256 alone
    message: bytes
    mac: bytes


class KeyType(StrEnum):
    """Types of board keys, as in product files and in the board protocol."""

    P256 = "p256"
    P384 = "p384"
    RSA2048 = "rsa2048"
    RSA3072 = "rsa3072"
    RSA4096 = "rsa4096"


class Reissue(StrEnum):
    """When a chip that has a certificate may get one for another key."""

    NEVER = "never"
    BEFORE_STAMP = "before-stamp"
    ALWAYS = "always"
