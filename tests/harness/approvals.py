"""Administrators with keys in software, and a store whose actions they approve."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from harness.ssh_signing import SshSigner
from signerd.adapters.store.registry.approving import WouldAppend
from signerd.core.approval.actions import Approval, Preparing, ShownApproval
from signerd.core.approval.administrators import AdministratorSet, namespace_of, parse_administrators
from signerd.core.approval.statement import REQUEST_BYTES, Statement

Act = Callable[[Approval], Awaitable[object]]
"""Does an action with an approval, or prepares it."""


@dataclass(frozen=True)
class Administrators:
    """Each with one key; `threshold` of them are asked."""

    deployment: str
    threshold: int
    signers: dict[str, SshSigner]

    @classmethod
    def of(cls, deployment: str, threshold: int, *names: str) -> Administrators:
        return cls(deployment, threshold, {name: SshSigner.ed25519() for name in names})

    @property
    def file(self) -> str:
        return "".join(f"{name} {signer.public_text}\n" for name, signer in self.signers.items())

    @property
    def set(self) -> AdministratorSet:
        return AdministratorSet(self.threshold, parse_administrators(self.file, self.deployment))

    def sign(self, text: bytes, *names: str) -> tuple[bytes, ...]:
        return tuple(self.signers[name].sign(text, namespace_of(self.deployment)) for name in names)

    async def prepare(self, *acts: Act, now: datetime, emergency: bool = False, days: int = 7) -> Statement:
        """What `PrepareApproval` does with a store."""
        would = [await would_append(act) for act in acts]
        return Statement(
            deployment=would[0].installation.deployment,
            log=would[0].installation.log,
            action=would[0].action,
            request=secrets.token_bytes(REQUEST_BYTES),
            expires=now + timedelta(days=days),
            entries=tuple(each.members for each in would),
            inputs=tuple(each.given for each in would),
            emergency=emergency,
        )

    def approve(self, statement: Statement, *names: str, part: int = 0) -> ShownApproval:
        text = statement.text()
        return ShownApproval(text, self.sign(text, *names), part)


async def would_append(act: Act) -> WouldAppend:
    try:
        await act(Preparing())
    except WouldAppend as would:
        return would
    raise AssertionError("it was done")


def changed(statement: Statement, **members: object) -> Statement:
    """The same with other members in its one entry."""
    (entry,) = statement.entries
    return replace(statement, entries=({**entry, **members},))


def both(signatures: Sequence[bytes], shown: ShownApproval) -> ShownApproval:
    """With other signatures."""
    return replace(shown, signatures=tuple(signatures))
