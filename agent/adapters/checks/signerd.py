"""The connection to signerd, what signerd says of this station, and whether root and clock are its."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from agent.adapters.checks.finding import Examined, Part
from agent.adapters.enrolment.credentials import (
    check_issuer,
    parse_cas,
    parse_certificate,
    read_file,
    trust_of,
)
from agent.adapters.journal.report import newest_entry
from agent.adapters.journal.schema import FILE_NAME
from agent.adapters.parts import signer_of
from agent.adapters.signer.answers import StationAnswer
from agent.adapters.signer.client import GrpcSigner
from agent.adapters.signer.seen_checkpoint import SeenCheckpoint
from agent.adapters.signer.tls_probe import LineBrokenError, probe
from agent.config import Config
from agent.core import clocks
from agent.core.log_keys import Cosigners
from agent.core.remedies import error_for
from agent.errors import ConfigError, NotedError, SignerClockWrong

_CLOCK = "Set this PC's clock (Windows: w32tm /resync; Linux: timedatectl set-ntp true)."
_ROOT = (
    "Have the device root sent again, compare its fingerprint with the company by another way, and put it at"
    " signerd.device_root."
)


async def line(station: Examined) -> str:
    """TLS stands, each side has shown a certificate that the other takes."""
    config = station.config
    try:
        return await asyncio.to_thread(probe, config.signerd, timeout_s=config.timeouts.call_s)
    except LineBrokenError as error:
        if not error.stops_line:  # who is not reached may be the wrong one besides
            await asyncio.to_thread(_check_own_issuer, config)
        raise


async def signerd(station: Examined) -> str:
    """This station may work, and on the order if one is named."""
    if station.signer is not None:
        return await _ask(station, station.signer)
    async with signer_of(station.config) as signer:
        return await _ask(station, signer)


async def trust(station: Examined) -> str | Part:
    """Verifier keys and device roots can be read; signerd's CAs, if it answered, are under a root."""
    pinned = await asyncio.to_thread(trust_of, station.config.signerd)
    if station.answer is not None and station.answer.highest_ca_der:
        _check_roots(pinned.device_roots, station.answer)
    if station.answer is not None:
        _compare_witnesses(pinned.log_key.cosigners, station.answer)
    roots = "; ".join(root.subject.rfc4514_string() for root in pinned.device_roots)
    keys = ", ".join(each.key_id.hex() for each in (pinned.log_key, *pinned.log_key.beside))
    cosigners = pinned.log_key.cosigners
    names = ", ".join(each.name for each in cosigners.witnesses)
    cosigned = f"{cosigners.at_least} of the witnesses {names} cosign" if names else "no witness is demanded"
    read = f"ledger {pinned.log_key.name} (key {keys}; {cosigned}), device root {roots}"
    followed = await asyncio.to_thread(SeenCheckpoint, station.config.state, pinned.log_key)
    if followed.succession is not None:
        read += f"; it follows the log's successor {followed.succession.origin}"
    if _is_away(station):
        return Part(f"{read}; not compared with signerd's chain, which it has not said")
    return read


async def clock(station: Examined) -> str | Part:
    """This PC's clock agrees with signerd's, and stands after what has certainly passed."""
    if station.apart is not None:
        clocks.check(station.apart, timedelta(seconds=station.config.clock_bound_s))
    seen = await asyncio.to_thread(_clock, station)
    if station.apart is None and _is_away(station):
        return Part(f"{seen}; not compared with signerd's clock, which it has not said")
    return seen


def _is_away(station: Examined) -> bool:
    """signerd has not answered, and that is another line's to say. One of before cannot be asked more."""
    return station.answer is None and not station.broken.isdisjoint({"line", "signerd"})


def _check_own_issuer(config: Config) -> None:
    held = parse_certificate(read_file(config.signerd.certificate), str(config.signerd.certificate))
    check_issuer(held, parse_cas(read_file(config.signerd.operations_ca), str(config.signerd.operations_ca)))


async def _ask(station: Examined, signer: GrpcSigner) -> str:
    await signer.ready()
    try:
        station.answer = await signer.check_station(station.work_order)
    except SignerClockWrong as error:
        if signer.apart:
            error.detail += f": it is {clocks.said(signer.apart)} this PC's"
        raise
    finally:
        station.apart = signer.apart
    if station.answer is None:
        return "it lets this station in; a signerd of before, which cannot be asked more"
    if station.answer.order_code:
        raise error_for(station.answer.order_code)
    return "this station may work" + (f" on {station.work_order}" if station.work_order else "")


def _check_roots(roots: tuple[x509.Certificate, ...], answer: StationAnswer) -> None:
    highest = []
    for der in answer.highest_ca_der:
        try:
            highest.append(x509.load_der_x509_certificate(der))
        except ValueError:
            continue  # a board's chain would be refused the same way
    if not any(ca in roots or any(_issued(ca, root) for root in roots) for ca in highest):
        pinned = ", ".join(root.subject.rfc4514_string() for root in roots) or "no certificate"
        above = ", ".join(dict.fromkeys(ca.issuer.rfc4514_string() for ca in highest))
        detail = f"device_root is not the root of signerd's chain: it is {pinned}, and signerd's is {above}"
        raise ConfigError(detail, remedy=_ROOT)


def _compare_witnesses(own: Cosigners, answer: StationAnswer) -> None:
    """What this station demands, beside what signerd does. Raises NotedError."""
    required = answer.witnesses_required
    if own.at_least < required:
        raise NotedError(
            f"signerd demands {required} witnesses, and this station {own.at_least}",
            remedy="Have signerd's administrator send the witnesses' verifier keys (signerd witness keys)."
            f" Put them at signerd.witnesses, and set signerd.witnesses_required = {required}.",
        )
    common = {key.text() for key in own.witnesses} & set(answer.witness_vkeys)
    if own.at_least > min(required, len(common)):
        raise NotedError(
            f"this station demands {own.at_least} witnesses; signerd demands {required}, and shows its"
            f" checkpoints to {len(common)} of this station's",
            remedy="Boards may be parked with not_cosigned. Have signerd's administrator demand as many of"
            " the same witnesses (publication.witnesses_required), or demand fewer here.",
        )


def _issued(ca: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        ca.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _clock(station: Examined) -> str:
    """The newest ledger entry that this station saw is a moment that has certainly passed."""
    now = datetime.now(UTC)
    asked = "" if station.apart is None else ", as signerd's" if not station.apart else ", near signerd's"
    entry = newest_entry(station.config.state / FILE_NAME)
    if entry is None:
        return f"{now:%F %T} UTC{asked}; no ledger entry yet to compare with"
    try:
        behind = datetime.fromisoformat(json.loads(entry)["time"]) - now
    except (ValueError, KeyError, TypeError) as error:
        remedy = "Keep the journal, and show it to the company: signerd's entries each have a time."
        raise NotedError("the newest ledger entry in the journal has no time", remedy=remedy) from error
    if behind > timedelta(seconds=station.config.clock_bound_s):
        raise ConfigError(f"{now:%F %T} UTC is {behind} before the newest ledger entry", remedy=_CLOCK)
    return f"{now:%F %T} UTC{asked}, after the newest ledger entry"
