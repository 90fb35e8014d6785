"""`signerd key-holder take-over`: a service gets the keys of an installation whose signerd holds them itself.

    asked = plan(signerd.toml, …)     looks at everything, changes nothing
    take_over(asked)                  writes the service's files and notes, then signerd's settings

Two directories become the service's: they are new, empty, or of a call that was cut short, which a mark in
the first says. signerd's settings are the last thing that is written: a crash before that leaves signerd as
it was, and the next call makes the service's files anew. After a crash behind that the next call removes what
is left of signerd's own files: of PINs, and of what is sealed, which is the service's alone from here on.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters import durable_files, installed_files
from signerd.adapters.head_file import load_vkey, read_second_place
from signerd.adapters.installation.further_issuer import token_text
from signerd.adapters.keyholder.service import noted_approvals, noted_orders, notes, tables
from signerd.adapters.keyholder.service.noted_orders import OrderCount
from signerd.adapters.keyholder.service.notes import About
from signerd.adapters.keyholder.service.settings import KeyHolderConfig, ServiceSettings
from signerd.adapters.keyholder.service.settings import load as load_key_holder
from signerd.adapters.keyholder.service.settings_edit import with_service
from signerd.adapters.keyholder.service.users import uid_of
from signerd.adapters.pin import file_of, with_file
from signerd.adapters.rpc.server import answers
from signerd.adapters.start_faults import unreadable
from signerd.adapters.store.log.checkpoint_keys import read_log_keys
from signerd.adapters.store.registry.approving import in_force
from signerd.adapters.store.tables.database import check_database, make_engine, start_fault
from signerd.adapters.store.tables.schema import approvals, entries, issuers, orders, products, records
from signerd.adapters.store.verification.verify import verify_database
from signerd.config import (
    AnyTokenSettings,
    Config,
    HsmSettings,
    IssuerSettings,
    Keys,
    TokenSettings,
    database_url,
    load,
)
from signerd.core.approval.statement import parse_statement
from signerd.core.entry import ShareGiven
from signerd.core.issuers import IssuerState
from signerd.core.leaf import DEVICE
from signerd.core.names import FIRST
from signerd.core.succession import number_of
from signerd.errors import ConfigError

T = TypeVar("T")
_OURS = ("v", "type", "id", "time", "by")  # members that every entry has
_MARK: Final = "take-over.unfinished"  # in the directory of the service's settings
_FACTS = {"ca_key_in", "checkpoint_key_in", "master_key_in", "key_holders", "deadline_s"}  # stay in [hsm]
_LOOK_S = 20.0


@dataclass(frozen=True, slots=True)
class Mark:
    """What a call that was cut short had begun."""

    notes: Path
    moved: tuple[Path, ...]  # signerd's files that are the service's now, to be removed at the end

    def write(self, path: Path) -> None:
        """Durably. Raises ConfigError."""
        said = {"notes": str(self.notes), "moved": [str(each) for each in self.moved]}
        installed_files.replace(path, json.dumps(said).encode(), 0o600)

    @classmethod
    def read(cls, path: Path) -> Mark | None:
        """None: no call was cut short. Raises ConfigError."""
        try:
            said = json.loads(path.read_bytes())
            return cls(Path(said["notes"]), tuple(map(Path, said["moved"])))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path} is damaged: remove it, and see which PIN files and sealed files are left"
            ) from error


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be taken over, and where to."""

    signerd: Path  # its settings
    config: Config
    edited: bytes | None  # signerd's settings with the service; None: they name it already, of a call before
    settings: Path  # the service's
    service: ServiceSettings
    user: int | None  # who is to own the service's files; None: whoever calls
    pins: dict[Path, Path]  # signerd's files of PINs, and the service's
    mark: Mark | None  # of the call before

    @property
    def moved(self) -> tuple[Path, ...]:
        """signerd's files that become the service's alone: of PINs, and of what is sealed."""
        return (*self.pins, *_sealed(self.config))

    @property
    def directory(self) -> Path:
        """Of the service's settings, certificates and PIN."""
        return self.settings.parent

    @property
    def owner(self) -> tuple[int, int] | None:
        """User and group of the service's files; None: whoever calls."""
        if self.user is None:
            return None
        try:
            return self.user, pwd.getpwuid(self.user).pw_gid
        except KeyError:  # a container's user may have a number alone
            return self.user, self.user


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What the service knows now, for people."""

    settings: Path
    orders: tuple[OrderCount, ...]  # open ones, which count as approved
    certificates: int
    administrators: tuple[str, ...]
    left: tuple[str, ...]  # to be done by hand before the service starts


def plan(signerd: Path, settings: Path, service: ServiceSettings, user: str | None) -> Plan:
    """Raises ConfigError: signerd or the service runs, a service has its keys already, there is no such user,
    a directory is in use, or the settings cannot be changed."""
    config = load(signerd)
    uid = None if user is None else uid_of(user)
    if uid is not None and os.geteuid() not in (0, uid):
        raise ConfigError(f"only root gives files to {user}: run the command as root")
    for client in service.clients:
        uid_of(client)
    check_database(database_url(config, signerd.resolve().parent))
    _demand_stopped(config)
    if answers(service.socket):
        raise ConfigError(f"a key holder listens on {service.socket}: stop it first")
    mark = Mark.read(settings.parent / _MARK)
    if any(each.hsm is not None and each.hsm.service is not None for each in config.all_issuers):
        if mark is None:
            raise ConfigError(f"{signerd} names a key holder's service already: nothing is left to take over")
        return Plan(signerd, config, None, settings, service, uid, {}, mark)
    _demand_free(settings.parent, ours=mark is not None)
    _demand_free(service.state, ours=mark is not None and mark.notes == service.notes)
    _demand_right(config, signerd.resolve().parent)
    pins = dict(_pins(config, signerd.resolve().parent, settings.parent))
    edited = _edited(signerd, service.socket, config)
    return Plan(signerd, config, edited, settings, service, uid, pins, mark)


def _demand_stopped(config: Config) -> None:
    lock = config.ledger.head.with_name(f"{config.ledger.head.name}.lock")
    if answers(config.admin.socket) or _is_locked(lock):
        raise ConfigError("signerd runs: stop it first, so that the service knows of every certificate")


def _demand_right(config: Config, base: Path) -> None:
    """The service believes for good what it is told of orders, administrators and certificates, so that all
    of it has to follow from the signed log."""
    head, vkey = config.ledger.head, load_vkey(config.ledger.vkey)
    verified = verify_database(database_url(config, base), head, vkey, lambda _step: None)
    if verified.found.total:
        raise ConfigError(
            f"the database is not what the ledger says, first {verified.found.findings[0]}: signerd database"
            " verify"
        )
    if verified.covered and verified.size > verified.covered:
        raise ConfigError(
            f"the ledger has {verified.size} entries, and the last checkpoint covers {verified.covered}:"
            " signerd was not stopped cleanly. Start it once, and stop it when `signerd status` says that it"
            " serves"
        )


def _is_locked(path: Path) -> bool:
    """Whether a signerd holds it, also one that does not answer."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _demand_free(directory: Path, *, ours: bool) -> None:
    """A directory that is in use is somebody's: the system's, or another key holder's with its notes."""
    try:
        if ours or not any(directory.iterdir()):
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable(directory, error) from error
    raise ConfigError(
        f"{directory} is not empty: the service's directories are its own alone; move it aside, or name"
        " another one (--to, --state)"
    )


def _pins(config: Config, base: Path, directory: Path) -> Iterator[tuple[Path, Path]]:
    """Each file of a PIN once, and where it goes."""
    for issuer in config.all_issuers:
        token = config.hsm if issuer.name == config.authority.name else issuer.hsm
        path = None if token is None else _pin_file(token, base)
        if path is not None and not _handed_in(path):
            yield path, directory / f"{issuer.name}.pin"
    for number, key in enumerate(config.checkpoint_keys, 2):
        if (path := _pin_file(key, base)) is not None and not _handed_in(path):
            yield path, directory / f"checkpoint-key-{number}.pin"


def _handed_in(pin: Path) -> bool:
    """A container's secret, which nobody in it can take away: it is neither copied nor removed."""
    try:
        return bool(os.statvfs(pin).f_flag & os.ST_RDONLY)
    except FileNotFoundError:
        return False  # who reads it says so
    except OSError as error:
        raise unreadable(pin, error) from error


def _pin_file(token: AnyTokenSettings, base: Path) -> Path | None:
    """The file that its PIN is in, in clear or sealed; None: it is in none."""
    name = file_of(token.pin)
    return None if name is None else base / name


def _sealed(config: Keys) -> Iterator[Path]:
    """The files of what is sealed."""
    for path in (config.hsm.sealed, *(key.sealed for key in config.checkpoint_keys)):
        if path is not None:
            yield path


def _edited(path: Path, service: Path, config: Config) -> bytes:
    facts = config.hsm.model_dump(mode="json", include=_FACTS, exclude_defaults=True)
    text = installed_files.read(path).decode()
    keys = [{"vkey": str(key.vkey), "key_in": key.key_in} for key in config.checkpoint_keys]
    return with_service(text, service, facts, keys).encode()


def take_over(asked: Plan) -> TakenOver:
    """Makes the service's files, and then has signerd use it.

    Raises:
        ConfigError: a file cannot be read or written; signerd's settings are as they were.
    """
    if asked.edited is not None:
        _make_service(asked)
        # A crash before this one leaves signerd as it was; after it signerd has the service.
        _switch(asked, asked.edited)
    _finish(asked)
    return _taken_over(asked)


def _make_service(asked: Plan) -> None:
    for directory in (asked.directory, asked.service.state):
        _make(directory)
    # A crash from here on leaves files that signerd does not read, and the mark that they are unfinished.
    Mark(asked.service.notes, asked.moved).write(asked.directory / _MARK)
    base = asked.signerd.resolve().parent
    for source, target in asked.pins.items():
        _copy(source, target, 0o400)
    _copy_rejected_pins(asked)
    installed_files.replace(asked.settings, _settings_text(asked, _held(asked, base)), 0o600)
    load_key_holder(asked.settings)
    _remove_notes(asked.service.notes)
    vkey = asked.config.ledger.vkey.read_text(encoding="utf-8").strip()
    notes.create_notes(asked.service.notes, About(asked.service.name, asked.config.deployment, vkey))
    _fill(asked)
    _give(asked)


def _copy_rejected_pins(asked: Plan) -> None:
    """What a token rejected once, no other user tries again. The file names module and token, and no PIN."""
    source = asked.config.rejected_pins
    if source.exists():
        _copy(source, asked.service.rejected_pins)


def _remove_notes(path: Path) -> None:
    """Those of a call that a crash ended, which signerd never used, with their write-ahead log."""
    with installed_files.told("remove"):
        for name in (f"{path.name}-wal", f"{path.name}-shm", path.name):
            path.with_name(name).unlink(missing_ok=True)


def _finish(asked: Plan) -> None:
    """What is left of them at signerd goes. A crash leaves the mark, and the next call goes on."""
    left = asked.moved if asked.mark is None or asked.edited is not None else asked.mark.moved
    with installed_files.told("remove", "; give the command again"):
        for old in left:
            old.unlink(missing_ok=True)
            durable_files.sync_directory(old.parent)
        (asked.directory / _MARK).unlink(missing_ok=True)


def _make(directory: Path) -> None:
    with installed_files.told("make"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)


def _copy(source: Path, target: Path, mode: int = 0o600) -> Path:
    installed_files.replace(target, installed_files.read(source), mode)
    return target


def _held(asked: Plan, base: Path) -> list[tuple[IssuerSettings, TokenSettings, Path, Path]]:
    """Each issuer with its token, and its certificates' copies."""
    found = []
    for number, issuer in enumerate(asked.config.all_issuers):
        token = asked.config.hsm if number == 0 else issuer.hsm
        if token is None:
            continue
        changed = _changed(asked, token, base)
        if isinstance(token, HsmSettings) and token.sealed is not None:
            changed["sealed"] = _copy(token.sealed, asked.directory / "sealed.json")
        chain = _copy(issuer.certificate, asked.directory / f"issuer-{issuer.name}.pem")
        root = _copy(issuer.root, asked.directory / f"root-of-{issuer.name}.pem")
        found.append((issuer, token.model_copy(update=changed), chain, root))
    return found


def _changed(asked: Plan, token: AnyTokenSettings, base: Path) -> dict[str, Any]:
    """What its settings say otherwise at the service: where the PIN's file is, and the module."""
    changed: dict[str, Any] = {}
    if (pin := _pin_file(token, base)) is not None:
        changed["pin"] = with_file(token.pin, asked.pins.get(pin, pin))
    if not token.module.is_absolute():
        changed["module"] = base / token.module
    return changed


def _settings_text(asked: Plan, held: list[tuple[IssuerSettings, TokenSettings, Path, Path]]) -> bytes:
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
    parts += _checkpoint_keys(asked)
    if config.approvals is not None:
        keys = _copy(config.approvals.administrators, asked.directory / "administrators")
        parts.append(_table("approvals", threshold=config.approvals.threshold, administrators=str(keys)))
    return "\n".join(parts).encode()


def _checkpoint_keys(asked: Plan) -> Iterator[str]:
    """Keys of the log after the first, with copies of their files."""
    base = asked.signerd.resolve().parent
    for number, token in enumerate(asked.config.checkpoint_keys, 2):
        name = f"checkpoint-key-{number}"
        changed = _changed(asked, token, base)
        changed["vkey"] = _copy(token.vkey, asked.directory / f"{name}.vkey")
        if token.sealed is not None:
            changed["sealed"] = _copy(token.sealed, asked.directory / f"{name}.sealed.json")
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


def _fill(asked: Plan) -> None:
    """What was signed and approved until now, into the notes; whoever takes over answers for it."""
    engine = make_engine(f"sqlite:///{asked.service.notes}", "write")
    try:
        with engine.begin() as target:
            _read(asked, lambda source: _fill_from(source, target, asked))
    except SQLAlchemyError as error:
        raise start_fault(f"cannot write {asked.service.notes}", error) from error
    finally:
        engine.dispose()


def _fill_from(source: Connection, target: Connection, asked: Plan) -> None:
    administrators = in_force(source)
    if administrators.asked:
        noted_approvals.set_administrators(target, administrators)
    active = select(issuers.c.ca, issuers.c.certificate_sha256).where(
        issuers.c.state == IssuerState.ACTIVE.value
    )
    for ca, digest in source.execute(active):
        noted_approvals.set_active(target, ca, digest)
    _copy_orders(source, target)
    _copy_uses(source, target, asked.service.name)
    _copy_leaves(source, target)
    _count_places(source, target)
    first = load_vkey(asked.config.ledger.vkey)
    head = read_second_place(asked.config.ledger.head, lambda: read_log_keys(source, first))
    notes.note_checkpoint(target, head, number_of(head.origin, first.name) or 1)


def _copy_uses(source: Connection, target: Connection, own: str) -> None:
    """What was approved until now was done, or undone since: shown again, it must not count again. Places
    that were given are whose they are."""
    # An action's approval is the entry before it.
    said = select(entries.c.data).join(approvals, entries.c.entry_index == approvals.c.entry_index - 1)
    # Once for each, of however many parts.
    for text in {json.loads(data)["statement"].encode("ascii") for data in source.scalars(said)}:
        statement = parse_statement(text)
        noted_approvals.note_use(target, statement, text)
        if statement.action == ShareGiven.type:
            _copy_shares(target, statement.entries, own)


def _copy_shares(target: Connection, given: Sequence[Mapping[str, Any]], own: str) -> None:
    """Places that this key holder released, and nobody was given, are its own again: nobody noted them."""
    for each in given:
        if own == each["taker"]:
            noted_orders.take_share(target, each["work_order"], each["places"])
        if own == each["giver"]:
            noted_orders.take_share(target, each["work_order"], -each["places"])


def _copy_orders(source: Connection, target: Connection) -> None:
    """Orders that take boards now count as approved; those that were closed stay closed."""
    said = (
        select(entries.c.data, products.c.toml, orders.c.closed_at)
        .join(orders, orders.c.opened_index == entries.c.entry_index)
        .join(products, products.c.sha256 == orders.c.product_sha256)
        .order_by(orders.c.opened_index)
    )
    for data, toml, closed_at in source.execute(said):
        members = {name: value for name, value in json.loads(data).items() if name not in _OURS}
        order = noted_orders.add_order(target, members)
        if closed_at is None:
            noted_orders.add_product(target, toml)
        else:
            noted_orders.close_order(target, order.work_order)


def _copy_leaves(source: Connection, target: Connection) -> None:
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
    for row in source.execute(certificates).mappings():
        note = dict(row)
        note["tbs_sha256"] = hashlib.sha256(note.pop("tbs")).digest()
        note["issuer_sha256"] = note.pop("certificate_sha256")
        note["certificate_serial"] = f"{int(note['certificate_serial'], 16):x}"
        target.execute(insert(tables.leaves).prefix_with("OR IGNORE"), {"name": DEVICE, **note})


def _count_places(source: Connection, target: Connection) -> None:
    """Which key holder certified a place, nobody notes but it. `main` counts all of them. Another one is new,
    since no name is given twice: places until now were others', as far as their shares reach. So all key
    holders together never pass the quantity."""
    taken = dict(source.execute(select(orders.c.work_order, orders.c.places)).all())
    for each in noted_orders.list_orders(target):
        work_order, number = each.order.work_order, taken[each.order.work_order]
        if notes.read_about(target).holder != FIRST:
            number = max(0, number - (each.order.quantity - each.share))
        if number:
            target.execute(
                insert(tables.counts), {"work_order": work_order, "name": DEVICE, "places": number}
            )


def _give(asked: Plan) -> None:
    """The files to the service's user."""
    if asked.owner is None:
        return
    for directory in (asked.directory, asked.service.state):
        with installed_files.told("give away"):
            for path in (directory, *directory.iterdir()):
                os.chown(path, *asked.owner)


def _switch(asked: Plan, edited: bytes) -> None:
    """signerd's settings, which name the service from here on. A crash leaves the old or the new ones."""
    found = asked.signerd.stat()
    installed_files.replace(asked.signerd, edited, stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid))
    load(asked.signerd)


def _taken_over(asked: Plan) -> TakenOver:
    """As the notes have it."""
    held = load_key_holder(asked.settings)
    engine = make_engine(f"sqlite:///{held.service.notes}", "read")
    try:
        with engine.begin() as connection:
            opened = [each for each in noted_orders.list_orders(connection) if not each.closed]
            counted = connection.execute(select(func.count()).select_from(tables.leaves)).scalar_one()
            names = noted_approvals.in_force(connection).names
    except SQLAlchemyError as error:
        raise start_fault(f"cannot read {held.service.notes}", error) from error
    finally:
        engine.dispose()
    return TakenOver(asked.settings, tuple(opened), counted, names, tuple(_left(asked, held)))


def _left(asked: Plan, held: KeyHolderConfig) -> Iterator[str]:
    """What only a person can do."""
    if sealed := [str(path) for path in _sealed(held)]:
        yield (
            f"keep copies of {' and '.join(sealed)}, now and whenever recipients change: signerd's backups no"
            " longer have them, and a spare token opens nothing without them"
        )
    for token in _tokens(held):
        kind = token.pin.partition(":")[0]
        if kind == "credential":
            yield f"{token.pin} is still signerd's unit's: move it to the service's (docs/key-holder.md)"
        elif kind in ("prompt", "fd"):
            yield f'the service takes its PIN from "{token.pin}": see that it can, or change {asked.settings}'
        elif (pin := _pin_file(token, asked.directory)) is not None and _handed_in(pin):
            yield f"{token.pin} is mounted from outside: hand it to the service, and to signerd no longer"
        for name, value in token.environment.items():
            if value.startswith("/") and not _may_read(asked, value):
                yield f"the service's user may not read {value}, which {name} names for the token's module"


def _tokens(held: KeyHolderConfig) -> Iterator[AnyTokenSettings]:
    yield held.hsm
    yield from (issuer.hsm for issuer in held.issuers if issuer.hsm is not None)
    yield from held.checkpoint_keys


def _may_read(asked: Plan, path: str) -> bool:
    if asked.owner is None or os.geteuid() != 0:
        return os.access(path, os.R_OK)
    user, group = asked.owner
    try:
        groups = os.getgrouplist(pwd.getpwuid(user).pw_name, group)
    except KeyError:
        groups = [group]
    done = subprocess.run(  # noqa: S603 -- test(1), as that user
        ("/usr/bin/test", "-r", path),
        user=user,
        group=group,
        extra_groups=groups,
        timeout=_LOOK_S,
        check=False,
    )
    return done.returncode == 0
