"""Whose keys approve, and how many administrators are needed.

    administrators = AdministratorSet(2, parse_administrators(text, "acme"))

The file is of the form of OpenSSH's allowed signers (ssh-keygen(1)), a line a key:

    ann sk-ssh-ed25519@openssh.com AAAA…
    bob verify-required sk-ecdsa-sha2-nistp256@openssh.com AAAA…

Several keys of one name are one administrator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.ssh_keys import SshKey, parse_key_text
from signerd.core.names import is_administrator

MAX_KEYS = 16  # of all administrators together: an entry of the ledger holds all of them
MAX_FILE = 65_536  # bytes
NAMESPACE = "birthmark-approval-v1"
_WORD = re.compile(r'(?:[^\s"]|"[^"]*")+')
_OPTION = re.compile(r'(?:[^,"]|"[^"]*")+')
VERIFY_REQUIRED = "verify-required"
_OPTIONS = (VERIFY_REQUIRED, "cert-authority", "no-touch-required")  # beside those with a value


def namespace_of(deployment: str) -> str:
    """What `ssh-keygen -Y sign -n` is given: no signature for something else counts here."""
    return f"{NAMESPACE}@{deployment}"


@dataclass(frozen=True, slots=True)
class Administrator:
    """One key of an administrator."""

    name: str
    key: SshKey
    verify_required: bool = False  # its security key must have asked for PIN or fingerprint


@dataclass(frozen=True, slots=True)
class AdministratorSet:
    """All keys that count, and of how many administrators an action needs signatures.

    A threshold of 0 without keys: nobody is asked.

    Raises:
        ApprovalError: nobody could approve anything, or one key appears twice.
    """

    threshold: int
    keys: tuple[Administrator, ...]

    def __post_init__(self) -> None:
        if len(self.keys) > MAX_KEYS:
            raise ApprovalError(f"{len(self.keys)} keys of administrators, more than {MAX_KEYS}")
        blobs = [each.key.blob for each in self.keys]
        for each in self.keys:
            if blobs.count(each.key.blob) > 1:
                raise ApprovalError(f"the key {each.key.fingerprint} appears twice: it is one person's")
        if not min(1, len(self.names)) <= self.threshold <= len(self.names):
            raise ApprovalError(
                f"a threshold of {self.threshold}, where there are {len(self.names)} administrators"
            )

    @property
    def asked(self) -> bool:
        """Whether actions need an approval."""
        return self.threshold > 0

    @property
    def names(self) -> tuple[str, ...]:
        """Each administrator once."""
        return tuple(sorted({each.name for each in self.keys}))

    def of_key(self, key: SshKey) -> Administrator:
        """Whose key it is. Raises ApprovalError."""
        for each in self.keys:
            if each.key.blob == key.blob:
                return each
        raise ApprovalError(f"signed by {key.fingerprint}, which is no administrator's key")

    @property
    def members(self) -> tuple[dict[str, object], ...]:
        """The keys as they stand in the ledger (docs/formats.md, `administrators_set`): sorted, so that they
        have one form."""
        return tuple(
            {"name": each.name, "key": each.key.text, "verify_required": each.verify_required}
            for each in sorted(self.keys, key=lambda each: (each.name, each.key.text))
        )

    def same_as(self, other: AdministratorSet) -> bool:
        """Whether both ask the same people."""
        return (self.threshold, self.members) == (other.threshold, other.members)


NOBODY = AdministratorSet(0, ())


def read_members(threshold: object, administrators: object) -> AdministratorSet:
    """What `AdministratorSet.members` gave, as JSON has it. Raises ApprovalError."""
    if type(threshold) is not int or not isinstance(administrators, list | tuple):
        raise ApprovalError("the administrators are not of their form")
    return AdministratorSet(threshold, tuple(map(_member, administrators)))


def _member(value: object) -> Administrator:
    if not isinstance(value, Mapping) or value.keys() != {"name", "key", "verify_required"}:
        raise ApprovalError("an administrator is not of its form")
    name, key, verify = value["name"], value["key"], value["verify_required"]
    if not isinstance(name, str) or not isinstance(key, str) or not isinstance(verify, bool):
        raise ApprovalError("an administrator is not of its form")
    algorithm, _, encoded = key.partition(" ")
    return _checked(name, parse_key_text(algorithm, encoded), verify_required=verify)


def parse_administrators(text: str, deployment: str) -> tuple[Administrator, ...]:
    """Reads a file of administrators' keys. Empty lines and those that begin with # do not count.

    Raises:
        ApprovalError: a line is wrong; it is named.
    """
    if len(text) > MAX_FILE:
        raise ApprovalError(f"a file of {len(text)} characters, more than {MAX_FILE}")
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            found.append(_line(stripped, namespace_of(deployment)))
        except ApprovalError as error:
            raise ApprovalError(f"line {number}: {error}") from error
    return tuple(found)


def _line(line: str, namespace: str) -> Administrator:
    words = _WORD.findall(line)
    options = _OPTION.findall(words[1]) if len(words) > 1 and _has_options(words[1]) else []
    key_words = words[1 + bool(options) :]
    if len(key_words) < 2:
        raise ApprovalError("a line is NAME [OPTIONS] ALGORITHM KEY, as in a .pub file")
    verify = [_option(option, namespace) for option in options]
    return _checked(words[0], parse_key_text(key_words[0], key_words[1]), verify_required=any(verify))


def _has_options(word: str) -> bool:
    return "=" in word or any(part.lower() in _OPTIONS for part in word.split(","))


def _option(option: str, namespace: str) -> bool:
    """Whether it is `verify-required`. Raises ApprovalError for what is not understood."""
    name, _, value = option.partition("=")
    if name.lower() == VERIFY_REQUIRED and not value:
        return True
    if name.lower() == "namespaces":
        if namespace not in value.strip('"').split(","):
            raise ApprovalError(f"its namespaces are without {namespace}")
        return False
    if name.lower() == "cert-authority":
        raise ApprovalError("administrators are named by their keys, not by a CA: no cert-authority")
    raise ApprovalError(f"the option {option[:80]!r} is not understood: verify-required and namespaces= are")


def _checked(name: str, key: SshKey, *, verify_required: bool) -> Administrator:
    if not is_administrator(name):
        raise ApprovalError(f"an administrator's name is 1 to 64 of [A-Za-z0-9._@-], and not {name[:80]!r}")
    if verify_required and not key.touched:
        raise ApprovalError(f"{VERIFY_REQUIRED} is for keys in security keys: a key in a file cannot say it")
    return Administrator(name, key, verify_required)
