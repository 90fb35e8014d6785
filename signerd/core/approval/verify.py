"""Holds signatures against a statement and the administrators of that moment.

What `verify_approval` gives is a capability: only what passed all its checks is an `Approved`, and it allows
the entries of its statement and nothing else. That it is used once is for whoever keeps a state: `request`
and the entry's position in the statement (`part`) name a use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from signerd.core.approval.administrators import AdministratorSet, namespace_of
from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.ssh_keys import Touch
from signerd.core.approval.sshsig import SshSignature, read_signature
from signerd.core.approval.statement import Members, Statement, parse_statement, stale

MAX_SIGNATURES = 16
MAX_VALID = timedelta(days=90)  # a request that is signed and forgotten ends


@dataclass(frozen=True, slots=True)
class Installation:
    """Which one an approval must be for."""

    deployment: str
    log: str  # the log's verifier key


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that holds."""

    administrator: str
    signature: SshSignature
    touch: Touch | None  # None: the key is in a file


@dataclass(frozen=True, slots=True)
class Approved:
    """A statement that enough administrators signed. Made by `verify_approval` alone."""

    statement: Statement
    text: bytes
    signatures: tuple[Signed, ...]  # one an administrator, by name

    def demand(self, action: str, members: Members, *, given: bytes | None, part: int = 0) -> None:
        """Raises ApprovalError unless this is the entry that was approved as this part of the statement.

        `given` is the SHA-256 of what the command was given, where its action has one.
        """
        statement = self.statement
        if statement.action != action:
            raise ApprovalError(f"it approves {statement.action!r}, and not {action!r}")
        if not 0 <= part < len(statement.entries):
            raise ApprovalError(f"it approves {len(statement.entries)} entries, and this would be one more")
        if statement.inputs[part] != given:
            raise ApprovalError("the command is given another file or list than the one that was approved")
        if differs := stale(statement, _with(statement.entries, part, members)):
            raise ApprovalError(
                f"what was approved is not what would be done now: {differs}; prepare a new request"
            )


def verify_approval(
    text: bytes,
    signatures: Sequence[bytes],
    administrators: AdministratorSet,
    *,
    installation: Installation,
    now: datetime,
) -> Approved:
    """Says that enough administrators approved the text, for this installation, and that it has not expired.

    Args:
        text: what was signed.
        signatures: as `ssh-keygen -Y sign` writes them, or without armor; 1 to `MAX_SIGNATURES`.
        administrators: those of now.
        installation: this one.
        now: aware, UTC.

    Raises:
        ApprovalError: anything of it does not hold. One bad signature beside enough good ones refuses all: it
            is no accident that goes unseen.
    """
    statement = parse_statement(text)
    for what, found, ours in (
        ("deployment", statement.deployment, installation.deployment),
        ("log", statement.log, installation.log),
    ):
        if found != ours:
            raise ApprovalError(f"it is for the {what} {found[:160]!r}, and this is {ours!r}")
    if now >= statement.expires:
        raise ApprovalError(f"it expired at {statement.expires:%Y-%m-%d %H:%M} UTC: prepare a new request")
    if statement.expires - now > MAX_VALID:
        raise ApprovalError(f"it would be valid for more than {MAX_VALID.days} days")
    signed = check_signatures(text, signatures, administrators, statement)
    return Approved(statement, text, signed)


def check_signatures(
    text: bytes, signatures: Sequence[bytes], administrators: AdministratorSet, statement: Statement
) -> tuple[Signed, ...]:
    """Whose signatures these are, one an administrator. Raises ApprovalError: too few, or a bad one."""
    if len(signatures) > MAX_SIGNATURES:
        raise ApprovalError(f"{len(signatures)} signatures, more than {MAX_SIGNATURES}")
    found: dict[str, Signed] = {}
    for number, data in enumerate(signatures, 1):
        try:
            signed = _signed(text, data, administrators, statement.deployment)
        except ApprovalError as error:
            raise ApprovalError(f"signature {number}: {error}") from error
        found.setdefault(signed.administrator, signed)  # twice by one is once
    needed = 1 if statement.emergency else administrators.threshold
    if len(found) < needed:
        who = ", ".join(sorted(found)) or "nobody"
        raise ApprovalError(
            f"{needed} administrators of {', '.join(administrators.names)} are to sign, and {who} did"
        )
    return tuple(found[name] for name in sorted(found))


def _signed(text: bytes, data: bytes, administrators: AdministratorSet, deployment: str) -> Signed:
    signature = read_signature(data)
    administrator = administrators.of_key(signature.key)
    touch = signature.verify(text, namespace_of(deployment))
    if administrator.verify_required and (touch is None or not touch.verified):
        raise ApprovalError(
            f"{administrator.name}'s security key did not ask for PIN or fingerprint:"
            " make its key with ssh-keygen -O verify-required"
        )
    return Signed(administrator.name, signature, touch)


def _with(entries: Sequence[Members], part: int, members: Members) -> list[Members]:
    return [*entries[:part], members, *entries[part + 1 :]]
