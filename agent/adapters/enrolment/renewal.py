"""The station's own renewal: it asks signerd for a newer certificate of its key, tries it, and then keeps it.

What this guarantees: a certificate is taken up that is for this station's key and name, of an operations CA
that signerd told over the line that the CA of before vouches for, and that signerd lets in. Until then, and
whatever goes wrong, the old certificate goes on. Calls under way are answered on the line that they began on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent.adapters.durable_files import replace
from agent.adapters.enrolment.credentials import (
    StationName,
    check_issuer,
    check_pair,
    parse_certificate,
    read_file,
    station_name,
)
from agent.adapters.signer.answers import RenewalAnswer, RenewalState
from agent.adapters.signer.client import GrpcSigner
from agent.config import Config
from agent.errors import AgentError, BadAnswer, ConfigError, Refused, SignerUnavailable

ASK_EVERY_S = 6 * 3600.0  # signerd says whether it is time: a look costs it nothing
REFUSED_EVERY_S = 24 * 3600.0  # a signerd of before this call there was enters each try into its ledger


class Outcome(StrEnum):
    """What came of one attempt."""

    NOT_DUE = "not_due"
    PENDING = "pending"  # an administrator approves it
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Renewal:
    """How the station's certificate stands. `until` is the end of the one in the file."""

    outcome: Outcome
    name: StationName
    until: datetime
    due_at: datetime | None


class Signer(Protocol):
    """The line that takes up what was renewed."""

    async def ask_renewal(self) -> RenewalAnswer:
        """See `GrpcSigner`."""
        ...

    def with_credentials(self, operations_ca: bytes, certificate: bytes) -> GrpcSigner:
        """See `GrpcSigner`."""
        ...

    async def go_on_as(self, other: GrpcSigner) -> None:
        """See `GrpcSigner`."""
        ...


async def renew(config: Config, signer: Signer) -> Renewal:
    """One attempt.

    Raises:
        SignerUnavailable: no answer, or the newer certificate is not let in; the old one goes on.
        Refused: signerd does not know the call, or refuses the station.
        BadAnswer: what signerd gave is not for this station.
        ConfigError: a file cannot be read or written.
    """
    wanted = config.signerd
    old = parse_certificate(read_file(wanted.certificate), str(wanted.certificate))
    answer = await signer.ask_renewal()
    if answer.state is not RenewalState.DONE:
        return Renewal(Outcome(answer.state.value), station_name(old), old.not_valid_after_utc, answer.due_at)
    new, cas = _checked(config, old, answer)
    pem, ca_pem = new.public_bytes(Encoding.PEM), b"".join(ca.public_bytes(Encoding.PEM) for ca in cas)
    other = signer.with_credentials(ca_pem, pem)
    async with other:
        await other.ready()
        await other.ask_renewal()  # signerd lets it in
        try:
            # A crash between the two leaves the old certificate, which the CAs of both lists vouch for.
            if read_file(wanted.operations_ca) != ca_pem:
                replace(wanted.operations_ca, ca_pem, 0o644)
            replace(wanted.certificate, pem, 0o644)
        except OSError as error:
            remedy = "See that this user may write to the folder of the station's certificate."
            raise ConfigError(f"cannot write {error.filename}: {error.strerror}", remedy=remedy) from error
        await signer.go_on_as(other)
    return Renewal(Outcome.DONE, station_name(new), new.not_valid_after_utc, answer.due_at)


def _checked(
    config: Config, old: x509.Certificate, answer: RenewalAnswer
) -> tuple[x509.Certificate, Sequence[x509.Certificate]]:
    """Certificate and CAs. Raises BadAnswer."""
    try:
        new = x509.load_der_x509_certificate(answer.certificate_der)
        cas = [x509.load_der_x509_certificate(der) for der in answer.ca_der]
        check_pair(new, read_file(config.signerd.key))
        check_issuer(new, cas)
        name = station_name(new)
    except (ValueError, ConfigError) as error:
        raise BadAnswer(f"the renewed certificate is not for this station: {error}") from error
    if name != station_name(old):
        raise BadAnswer(f"the renewed certificate is for {name.uri}")
    if new.not_valid_after_utc <= old.not_valid_after_utc and new.issuer == old.issuer:
        raise BadAnswer("the renewed certificate ends no later than the one that is there")
    return new, cas


class StationRenewal:
    """Asks again and again while the station runs, beside its boards."""

    def __init__(self, config: Config, signer: GrpcSigner) -> None:
        self._config = config
        self._signer = signer
        self.last: Renewal | AgentError | None = None

    async def run(self) -> None:
        """Until cancelled.

        What goes wrong stops no board and is tried again, a refusal too, since signerd may be upgraded or
        mended. From 60 days before the end `doctor` says so, and signerd warns its administrators.
        """
        while True:
            delay_s = ASK_EVERY_S
            try:
                self.last = await renew(self._config, self._signer)
            except Refused as error:
                self.last = error
                delay_s = REFUSED_EVERY_S
            except (SignerUnavailable, BadAnswer, ConfigError) as error:
                self.last = error
            await asyncio.sleep(delay_s)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run(), name="renewal")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))
