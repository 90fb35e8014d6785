"""Examines a station from its configuration to its ports. Each finding says what is wrong and what to do.

The question to signerd, `OpenSession` for the chip id `doctor`, is refused by design; which refusal it
is tells whether this station may work. It leaves a `refused` entry in the ledger.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.adapters.drivers.registry import find_driver
from agent.adapters.enrolment.credentials import (
    check_issuer,
    check_pair,
    parse_cas,
    parse_certificate,
    read_file,
    read_trust,
    station_name,
)
from agent.adapters.journal.report import newest_entry, read_report
from agent.adapters.journal.schema import FILE_NAME, open_for_writing
from agent.adapters.line.serial_port import list_ports
from agent.adapters.private_files import check_private
from agent.adapters.signer.tls_probe import probe
from agent.config import Config, LabelPlace, Results, load
from agent.core.clocks import said
from agent.errors import AgentError, ConfigError, JournalError, Refused, SignerClockWrong
from agent.wiring import firmware_of, places_of, read_recipe, signer_of

_SOON = timedelta(days=60)  # as signerd warns its administrators
_CHIP = "doctor"
_NO_STATION = frozenset({"unauthenticated", "peer_revoked", "role_denied"})
_CLOCK = "Set this PC's clock (Windows: w32tm /resync; Linux: timedatectl set-ntp true)."


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `remedy` is empty where it is ok."""

    check: str
    ok: bool
    detail: str
    remedy: str


async def examine(config_path: Path, work_order: str | None) -> list[Finding]:
    """All checks, in the order in which things depend on each other."""
    findings: list[Finding] = []
    try:
        config = load(config_path)
    except AgentError as error:
        return [Finding("configuration", ok=False, detail=error.detail, remedy=error.remedy)]
    findings.append(Finding("configuration", ok=True, detail=str(config_path), remedy=""))
    checks: list[tuple[str, Callable[[], Awaitable[str]]]] = [
        ("recipe", _in_thread(lambda: read_recipe(config).name)),
        ("key", _in_thread(lambda: _key(config))),
        ("certificate", _in_thread(lambda: _certificate(config))),
        ("trust", _in_thread(lambda: _trust(config))),
        ("journal", _in_thread(lambda: _journal(config))),
        ("clock", _in_thread(lambda: _clock(config))),
        ("outbox", _in_thread(lambda: _outbox(config))),
        ("line", _in_thread(lambda: probe(config.signerd, timeout_s=config.timeouts.call_s))),
        ("signerd", lambda: _signerd(config, work_order)),
        ("ports", lambda: _ports(config)),
    ]
    if config.bundle is not None:
        checks.append(("bundle", lambda: _bundle(config)))
    if (label := config.label) is not None:
        checks.append(("labels", lambda: _labels(config, label)))
    if config.places:
        checks.append(("places", _in_thread(lambda: _places(config))))
    if config.results != Results():
        checks.append(("results", _in_thread(lambda: _results(config.results))))
    for name, check in checks:
        try:
            findings.append(Finding(name, ok=True, detail=await check(), remedy=""))
        except AgentError as error:
            detail = f"{error.detail}: {error.code}" if isinstance(error, Refused) else error.detail
            findings.append(Finding(name, ok=False, detail=detail, remedy=error.remedy))
    return findings


def _in_thread(check: Callable[[], str]) -> Callable[[], Awaitable[str]]:
    return lambda: asyncio.to_thread(check)


def _key(config: Config) -> str:
    path = config.signerd.key
    pem = read_file(path)
    check_private(path)
    check_pair(parse_certificate(read_file(config.signerd.certificate), "the certificate"), pem)
    return "belongs to the certificate"


def _certificate(config: Config) -> str:
    certificate = parse_certificate(read_file(config.signerd.certificate), str(config.signerd.certificate))
    check_issuer(certificate, parse_cas(read_file(config.signerd.operations_ca), "operations_ca"))
    name = station_name(certificate)
    if name.deployment != config.deployment:
        detail = (
            f"the certificate is for deployment {name.deployment}, the configuration for {config.deployment}"
        )
        raise ConfigError(detail, remedy="Set `deployment` in agent.toml to the certificate's.")
    now = datetime.now(UTC)
    until = certificate.not_valid_after_utc
    if now < certificate.not_valid_before_utc:
        raise ConfigError(f"not valid before {certificate.not_valid_before_utc:%F %T}", remedy=_CLOCK)
    if until - now < _SOON:
        ended = "ended" if until < now else "ends"
        remedy = "Run birthmark-agent renew, and send the request that it makes to signerd's administrator."
        raise ConfigError(f"{name.uri} {ended} {until:%F %T}", remedy=remedy)
    return f"{name.uri} until {until:%F}"


def _trust(config: Config) -> str:
    trust = read_trust(config.signerd.log_vkey, config.signerd.device_root)
    roots = "; ".join(root.subject.rfc4514_string() for root in trust.device_roots)
    keys = ", ".join(key.key_id.hex() for key in (trust.log_key, *trust.log_key.beside))
    return f"ledger {trust.log_key.name} (key {keys}), device root {roots}"


def _journal(config: Config) -> str:
    path = config.state / FILE_NAME
    connection = open_for_writing(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except connection.Error as error:
        raise JournalError(f"cannot write {path}: {error}") from error
    finally:
        connection.close()
    if not os.access(config.state, os.W_OK):  # WAL makes files beside the journal
        raise JournalError(f"cannot write into {config.state}")
    return str(path)


async def _bundle(config: Config) -> str:
    """As at a station's start: signature, contents, and the driver's own look at the images."""
    firmware = await firmware_of(config)
    if firmware is None:
        raise ConfigError(
            f"driver {config.driver} takes no bundle", remedy="Take [bundle] out of agent.toml."
        )
    manifest = firmware.bundle.manifest
    return f"{manifest.product} {manifest.version} for {manifest.chip}, {firmware.bundle.digest.hex()}"


async def _labels(config: Config, place: LabelPlace) -> str:
    from agent.adapters.labels import open_labels  # noqa: PLC0415 -- what draws labels is of no use to others

    await open_labels(place).check(await asyncio.to_thread(_names_on_labels, config))
    places = [str(where) for where in (place.folder, place.printer) if where is not None]
    return f"template fits its sample; {' and '.join(places)} can be reached"


def _names_on_labels(config: Config) -> list[str]:
    """What the ports that are there are called, and those that have a place."""
    found = list_ports(config.ports, discover=not config.ports)
    called = {config.places.get(port.name, port.name) for port in found}
    return sorted(called | set(config.places.values()))


def _places(config: Config) -> str:
    """No adapter is a fault, nor is a place too many; both at once are a name that is not the port's."""
    places = places_of(config)
    names = [port.name for port in list_ports(config.ports, discover=not config.ports)]
    unknown = [name for name in places if name not in names]
    nameless = [name for name in names if name not in places]
    if unknown and nameless:
        detail = f"port {nameless[0]} has no place, and {unknown[0]} is no port's name"
        raise ConfigError(detail, remedy="Name ports under [places] as birthmark-agent ports does.")
    return f"{len(names) - len(nameless)} of {len(names)} ports have one"


def _results(wanted: Results) -> str:
    """The folder takes files, and the command is a program; it is not run, for the MES would be told."""
    folder, command = wanted.folder, wanted.command
    if folder is not None and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        detail = f"results.folder: {folder} is no directory that this account may write to"
        raise ConfigError(detail, remedy="Make it, give it to this account, or mend the key.")
    if command and shutil.which(command[0]) is None:
        detail = f"results.command: {command[0]} is no program that this account may run"
        raise ConfigError(detail, remedy="Mend the key, or make the file executable (chmod +x).")
    return ", ".join(str(one) for one in (folder, command[0] if command else None) if one is not None)


def _clock(config: Config) -> str:
    """The newest ledger entry that this station saw is a moment that has certainly passed."""
    now = datetime.now(UTC)
    entry = newest_entry(config.state / FILE_NAME)
    if entry is None:
        return f"{now:%F %T} UTC; no ledger entry yet to compare with"
    try:
        moment = datetime.fromisoformat(json.loads(entry)["time"])
        behind = moment - now
    except (ValueError, KeyError, TypeError) as error:
        raise JournalError("a ledger entry in the journal cannot be read") from error
    if behind > timedelta(seconds=config.clock_bound_s):
        raise ConfigError(f"{now:%F %T} UTC is {behind} before the newest ledger entry", remedy=_CLOCK)
    return f"{now:%F %T} UTC, after the newest ledger entry"


def _outbox(config: Config) -> str:
    report = read_report(config.state / FILE_NAME)
    if report.refused_stamps:
        serial_number, code = report.refused_stamps[-1]
        remedy = "Find these boards: birthmark-agent status. Each is certified and not accounted for."
        detail = f"{len(report.refused_stamps)} stamps were refused, the last of {serial_number}: {code}"
        raise ConfigError(detail, remedy=remedy)
    if report.open_stamps:
        remedy = "They are sent while birthmark-agent run is running and signerd answers."
        raise ConfigError(f"{len(report.open_stamps)} stamps wait for signerd", remedy=remedy)
    return "empty"


async def _signerd(config: Config, work_order: str | None) -> str:
    """Asks for a session. Bad are clocks that are apart, and a refusal that is about the station, or the
    order named."""
    async with signer_of(config) as signer:
        await signer.ready()
        try:
            await signer.open_session(work_order or _CHIP, _CHIP)
        except Refused as error:
            about_order = work_order is not None and error.code in {
                "order_unknown",
                "order_not_open",
                "order_full",
            }
            signer.check_clocks()
            if error.code in _NO_STATION or about_order:
                raise
        except SignerClockWrong as error:
            if signer.apart:
                error.detail += f": it is {said(signer.apart)} this PC's"
            raise
        clocks = "" if signer.apart is None else f"; its clock is {_agrees(signer.apart)} this PC's"
    return "this station may work" + (f" on {work_order}" if work_order else "") + clocks


def _agrees(apart: timedelta) -> str:
    return said(apart) if apart else "as"


async def _ports(config: Config) -> str:
    """Opens each port with the driver and closes it again. That no board is on it is not a fault."""
    found = await asyncio.to_thread(list_ports, config.ports, discover=not config.ports)
    if not found:
        raise ConfigError(
            "no serial port",
            remedy="Plug one in, or name it under `ports`; Linux: the group dialout may open it.",
        )
    kind = find_driver(config.driver)
    for port in found:
        async with kind.open(port.device, config.drivers.get(config.driver, {}), None):
            pass
    return ", ".join(port.device for port in found)
