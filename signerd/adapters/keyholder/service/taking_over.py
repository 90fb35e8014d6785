"""`signerd key-holder take-over`: a service gets the keys of an installation whose signerd holds them itself.

    files = plan(signerd.toml, …)     looks at everything, changes nothing
    take_over(files)                  writes the service's files and notes, then signerd's settings

signerd's settings are the last thing that is written. A crash before that leaves signerd as it was, and files
of the service that the next call makes anew. A crash after it may leave a PIN file that nothing reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import stat
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters import durable_files
from signerd.adapters.head_file import load_vkey, read_second_place
from signerd.adapters.installation.further_issuer import token_text
from signerd.adapters.keyholder.service import notes
from signerd.adapters.keyholder.service.notes import About
from signerd.adapters.keyholder.service.settings import KeyHolderConfig, ServiceSettings
from signerd.adapters.keyholder.service.settings import load as load_key_holder
from signerd.adapters.keyholder.service.users import uid_of
from signerd.adapters.pin import file_of, with_file
from signerd.adapters.start_faults import unreadable
from signerd.adapters.store.approving import in_force
from signerd.adapters.store.checkpoint_keys import read_log_keys
from signerd.adapters.store.database import check_database, make_engine, start_fault
from signerd.adapters.store.schema import approvals, entries, issuers, orders, places, products, records
from signerd.config import (
    AnyTokenSettings,
    CheckpointKeySettings,
    Config,
    HsmSettings,
    IssuerSettings,
    TokenSettings,
    database_url,
    load,
)
from signerd.core.approval.statement import parse_statement
from signerd.core.issuers import IssuerState
from signerd.core.leaf import DEVICE
from signerd.errors import ConfigError

_HEADER = re.compile(r"^\s*\[+\s*([A-Za-z0-9_.-]+)\s*\]+")
_CHANGED = ("hsm", "issuers.hsm", "checkpoint_keys")  # tables of signerd's settings
T = TypeVar("T")
_OURS = ("v", "type", "id", "time", "by")  # members that every entry has


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be taken over, and where to."""

    signerd: Path  # its settings
    config: Config
    settings: Path  # the service's
    service: ServiceSettings
    user: int | None  # who is to own the service's files; None: whoever calls

    @property
    def directory(self) -> Path:
        """Of the service's settings, certificates and PIN."""
        return self.settings.parent


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What the service knows now, for people."""

    settings: Path
    orders: tuple[str, ...]  # open ones, which count as approved
    certificates: int
    administrators: tuple[str, ...]


def plan(signerd: Path, settings: Path, service: ServiceSettings, user: str | None) -> Plan:
    """Raises ConfigError: signerd runs, a service has its keys already, or there is no such user."""
    config = load(signerd)
    if any(each.hsm is not None and each.hsm.service is not None for each in config.all_issuers):
        raise ConfigError(f"{signerd} names a key holder's service already: nothing is left to take over")
    check_database(database_url(config, signerd.resolve().parent))
    _demand_stopped(config.admin.socket)
    for client in service.clients:
        uid_of(client)
    return Plan(signerd, config, settings, service, None if user is None else uid_of(user))


def _demand_stopped(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise ConfigError("signerd runs: stop it first, so that the service knows of every certificate")


def take_over(asked: Plan) -> TakenOver:
    """Makes the service's files, and then has signerd use it.

    Raises:
        ConfigError: a file cannot be read or written; signerd's settings are as they were.
    """
    config, base = asked.config, asked.signerd.resolve().parent
    for directory in (asked.directory, asked.service.state):
        _make(directory)
    pins = dict(_copy_pins(asked, base))
    held = _held(asked, pins)
    _write(asked.settings, _settings_text(asked, held, pins), 0o600)
    checked = load_key_holder(asked.settings)
    _remove_notes(asked.service.notes)
    vkey = config.ledger.vkey.read_text(encoding="utf-8").strip()
    notes.create_notes(asked.service.notes, About(asked.service.name, config.deployment, vkey))
    found = _fill(asked, checked)
    _give(asked)
    _switch(asked)
    for old in pins:
        old.unlink(missing_ok=True)
    return found


def _remove_notes(path: Path) -> None:
    """Those of a call that a crash ended: signerd never used them. The write-ahead log first: beside a new
    file it would be played into that."""
    for name in (f"{path.name}-wal", f"{path.name}-shm", path.name):
        path.with_name(name).unlink(missing_ok=True)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"cannot make {directory}: {error.strerror}") from error


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        durable_files.replace(path, data, mode)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _copy(source: Path, target: Path, mode: int = 0o600) -> Path:
    try:
        data = source.read_bytes()
    except OSError as error:
        raise unreadable(source, error) from error
    _write(target, data, mode)
    return target


def _tokens(config: Config) -> Iterator[AnyTokenSettings]:
    yield config.hsm
    yield from (issuer.hsm for issuer in config.issuers if issuer.hsm is not None)
    yield from config.checkpoint_keys


def _copy_pins(asked: Plan, base: Path) -> Iterator[tuple[Path, Path]]:
    """signerd's files of PINs and the service's."""
    for token in _tokens(asked.config):
        name = file_of(token.pin)
        if name is not None:
            yield base / name, _copy(base / name, asked.directory / Path(name).name, 0o400)


def _held(asked: Plan, pins: dict[Path, Path]) -> list[tuple[IssuerSettings, TokenSettings, Path, Path]]:
    """Each issuer with its token, and its certificates' copies."""
    base, found = asked.signerd.resolve().parent, []
    for number, issuer in enumerate(asked.config.all_issuers):
        token = asked.config.hsm if number == 0 else issuer.hsm
        if token is None:
            continue
        name = file_of(token.pin)
        changed: dict[str, Any] = {} if name is None else {"pin": with_file(token.pin, pins[base / name])}
        if isinstance(token, HsmSettings) and token.sealed is not None:
            changed["sealed"] = _copy(token.sealed, asked.directory / token.sealed.name)
        if not token.module.is_absolute():
            changed["module"] = base / token.module
        chain = _copy(issuer.certificate, asked.directory / f"issuer-{issuer.name}.pem")
        root = _copy(issuer.root, asked.directory / f"root-of-{issuer.name}.pem")
        found.append((issuer, token.model_copy(update=changed), chain, root))
    return found


def _settings_text(
    asked: Plan, held: list[tuple[IssuerSettings, TokenSettings, Path, Path]], pins: dict[Path, Path]
) -> bytes:
    config, service = asked.config, asked.service
    vkey = _copy(config.ledger.vkey, asked.directory / "log.vkey")
    parts = [
        "# A key holder's service: docs/key-holder.md. Made by `signerd key-holder take-over`.",
        _lines(deployment=config.deployment),
        _table("service", **service.model_dump(mode="json")),
        _table("ledger", origin=config.ledger.origin, vkey=str(vkey)),
    ]
    cas = _cas(asked)
    for number, (issuer, token, chain, root) in enumerate(held):
        files = {"certificate": str(chain), "root": str(root)}
        if number == 0:
            bounds = config.authority.model_dump(include={"max_validity_days", "allow_no_expiry"})
            parts += [f"[hsm]\n{token_text(token)}", _table("authority", name=issuer.name, **files, **bounds)]
        else:
            named = _lines(name=issuer.name, ca=cas.get(issuer.name), **files)
            parts.append(f"[[issuers]]\n{named}\n[issuers.hsm]\n{token_text(token)}")
    parts += _checkpoint_keys(asked, pins)
    if config.approvals is not None:
        keys = _copy(config.approvals.administrators, asked.directory / "administrators")
        parts.append(_table("approvals", threshold=config.approvals.threshold, administrators=str(keys)))
    return "\n".join(parts).encode()


def _checkpoint_keys(asked: Plan, pins: dict[Path, Path]) -> Iterator[str]:
    """Keys of the log after the first, with copies of their files."""
    base = asked.signerd.resolve().parent
    for token in asked.config.checkpoint_keys:
        name = file_of(token.pin)
        changed: dict[str, Any] = {} if name is None else {"pin": with_file(token.pin, pins[base / name])}
        changed["vkey"] = _copy(token.vkey, asked.directory / token.vkey.name)
        if token.sealed is not None:
            changed["sealed"] = _copy(token.sealed, asked.directory / token.sealed.name)
        if not token.module.is_absolute():
            changed["module"] = base / token.module
        yield f"[[checkpoint_keys]]\n{token_text(token.model_copy(update=changed))}"


def _lines(**values: object) -> str:
    given = {name: value for name, value in values.items() if value is not None}
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in given.items())


def _table(header: str, /, **values: object) -> str:
    return f"[{header}]\n{_lines(**values)}"


def _read(asked: Plan, work: Callable[[Connection], T]) -> T:
    engine = make_engine(database_url(asked.config, asked.signerd.resolve().parent), "read")
    try:
        with engine.begin() as connection:
            return work(connection)
    except SQLAlchemyError as error:
        raise start_fault("cannot read the database", error) from error
    finally:
        engine.dispose()


def _cas(asked: Plan) -> dict[str, str]:
    """The CA of each issuer that the ledger has."""
    return dict(
        _read(asked, lambda connection: connection.execute(select(issuers.c.name, issuers.c.ca)).all())
    )


def _fill(asked: Plan, made: KeyHolderConfig) -> TakenOver:
    """What was signed and approved until now, into the notes; whoever takes over answers for it."""
    engine = make_engine(f"sqlite:///{asked.service.notes}", "write")
    try:
        with engine.begin() as target:
            return _read(asked, lambda source: _fill_from(source, target, asked))
    except SQLAlchemyError as error:
        raise start_fault(f"cannot write {made.service.notes}", error) from error
    finally:
        engine.dispose()


def _fill_from(source: Connection, target: Connection, asked: Plan) -> TakenOver:
    administrators = in_force(source)
    if administrators.asked:
        notes.set_administrators(target, administrators)
    active = select(issuers.c.ca, issuers.c.certificate_sha256).where(
        issuers.c.state == IssuerState.ACTIVE.value
    )
    for ca, digest in source.execute(active):
        notes.set_active(target, ca, digest)
    _copy_uses(source, target)
    opened = list(_copy_orders(source, target))
    counted = _copy_leaves(source, target)
    first = load_vkey(asked.config.ledger.vkey)
    head = read_second_place(asked.config.ledger.head, lambda: read_log_keys(source, first))
    notes.note_checkpoint(target, head)
    return TakenOver(asked.settings, tuple(opened), counted, administrators.names)


def _copy_uses(source: Connection, target: Connection) -> None:
    """What was approved until now was done, or undone since: shown again, it must not count again."""
    # An action's approval is the entry before it.
    said = select(entries.c.data).join(approvals, entries.c.entry_index == approvals.c.entry_index - 1)
    for data in source.scalars(said.where(approvals.c.part == 0)):
        text = json.loads(data)["statement"].encode("ascii")
        notes.note_use(target, parse_statement(text), text)


def _copy_orders(source: Connection, target: Connection) -> Iterator[str]:
    """Orders that take boards now count as approved; those that were closed stay closed."""
    said = (
        select(entries.c.data, products.c.toml, orders.c.closed_at)
        .join(orders, orders.c.opened_index == entries.c.entry_index)
        .join(products, products.c.sha256 == orders.c.product_sha256)
        .order_by(orders.c.opened_index)
    )
    for data, toml, closed_at in source.execute(said):
        members = {name: value for name, value in json.loads(data).items() if name not in _OURS}
        order = notes.add_order(target, members)
        if closed_at is None:
            notes.add_product(target, toml)
            yield order.work_order
        else:
            notes.close_order(target, order.work_order)


def _copy_leaves(source: Connection, target: Connection) -> int:
    certificates = select(
        records.c.tbs,
        records.c.work_order,
        records.c.number,
        records.c.product,
        records.c.chip_id,
        records.c.serial_number,
        records.c.certificate_serial,
        issuers.c.certificate_sha256,
    ).join(issuers, issuers.c.id == records.c.issuer)
    count = 0
    for row in source.execute(certificates).mappings():
        note = dict(row)
        note["tbs_sha256"] = hashlib.sha256(note.pop("tbs")).digest()
        note["issuer_sha256"] = note.pop("certificate_sha256")
        note["certificate_serial"] = f"{int(note['certificate_serial'], 16):x}"
        target.execute(insert(notes.leaves).prefix_with("OR IGNORE"), {"name": DEVICE, **note})
        count += 1
    taken = select(places.c.work_order, orders.c.places).join(
        orders, orders.c.work_order == places.c.work_order
    )
    for work_order, number in source.execute(taken.distinct()):
        target.execute(insert(notes.counts), {"work_order": work_order, "name": DEVICE, "places": number})
    return count


def _give(asked: Plan) -> None:
    """The files to the service's user."""
    if asked.user is None:
        return
    for directory in (asked.directory, asked.service.state):
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, asked.user)


def _switch(asked: Plan) -> None:
    """signerd's settings, which name the service from here on. A crash leaves the old or the new ones."""
    path = asked.signerd
    old = path.read_text(encoding="utf-8")
    new = _with_service(old, asked.service.socket, asked.config)
    _demand_else_equal(old, new)
    found = path.stat()
    try:
        durable_files.replace(path, new.encode(), stat.S_IMODE(found.st_mode))
        os.chown(path, found.st_uid, found.st_gid)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    load(path)


def _with_service(text: str, path: Path, config: Config) -> str:
    """The settings with a socket in the place of each token."""
    kept: list[str] = []
    checkpoint_keys = iter(config.checkpoint_keys)
    within = False
    for line in text.splitlines():
        if header := _HEADER.match(line):
            name = header[1]
            within = name in _CHANGED or name.startswith(tuple(f"{each}." for each in _CHANGED))
            if name == "checkpoint_keys":
                kept += [line, *_lines_of_checkpoint_key(path, next(checkpoint_keys)), ""]
                continue
            if name in ("hsm", "issuers.hsm"):
                own = config.hsm if name == "hsm" else None
                kept += [line, *_service_lines(path, own), ""]
                continue
        if not within:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _service_lines(path: Path, hsm: HsmSettings | None) -> list[str]:
    lines = [f"service = {json.dumps(str(path))}  # `signerd key-holder run` has the token"]
    if hsm is not None:
        facts = {"ca_key_in", "checkpoint_key_in", "master_key_in", "key_holders", "deadline_s"}
        values = hsm.model_dump(mode="json", include=facts, exclude_defaults=True)
        lines += _lines(**values).splitlines()
    return lines


def _lines_of_checkpoint_key(path: Path, key: CheckpointKeySettings) -> list[str]:
    lines = _lines(vkey=str(key.vkey), key_in=key.key_in).splitlines()
    return [*lines, *_service_lines(path, None)]


def _demand_else_equal(old: str, new: str) -> None:
    """Whatever else stands in the settings stays: what cannot be edited so is left to a person."""
    before, after = tomllib.loads(old), tomllib.loads(new)
    for tables in (before, after):
        for table in (tables, *tables.get("issuers", [])):
            table.pop("hsm", None)
        tables.pop("checkpoint_keys", None)
    if before != after:
        raise ConfigError(
            "the settings are not of a form that can be changed here: write [hsm] with `service` by hand"
            " (docs/key-holder.md)"
        )
