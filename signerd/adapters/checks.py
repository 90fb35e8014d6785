"""What must hold before signerd starts, each with a name and a remedy: `check-config`, and the start itself.

Nothing here logs in to the token unless it is asked to, and no PKCS#11 module enters this process.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from signerd.adapters import installed_files, operations_ca
from signerd.adapters.administrators_file import read_administrators
from signerd.adapters.checkpoint_key_holders import vkey_in
from signerd.adapters.contradiction_file import contradiction_file, demand_continued
from signerd.adapters.ends import certificate_ends, ended_for_good, key_holder_ends, peer_ends
from signerd.adapters.head_file import read_second_place
from signerd.adapters.keyholder.held_pin import WrongPin
from signerd.adapters.keyholder.pool import KeyHolderPool, settings_for
from signerd.adapters.keyholder.sealed_file import read_sealed_file
from signerd.adapters.operations_succession import peers_by_ca
from signerd.adapters.pin import check_pin_file, pin_of, read_pin
from signerd.adapters.recipients import known_recipients, read_parts
from signerd.adapters.rpc.server import check_socket_directory
from signerd.adapters.server_files import ServerFiles
from signerd.adapters.session_keys import outlive_restarts
from signerd.adapters.start_faults import unreadable
from signerd.adapters.store import Registered, check_database, compare_database, known_issuers, known_log_keys
from signerd.adapters.tiles import open_bucket
from signerd.adapters.tiles.bucket_line import BucketTrouble
from signerd.adapters.witnesses import open_witnesses
from signerd.config import Config, IssuerSettings, Keys, database_url, tiles_folder
from signerd.core import note
from signerd.core.bucket_answers import TroubleCode
from signerd.core.checkpoint_keys import KeyState
from signerd.core.ends import WARNED, due
from signerd.core.issuers import IssuerState
from signerd.core.issuing_chain import chain_problems
from signerd.core.merkle import EMPTY_ROOT
from signerd.core.profile import Issuer
from signerd.core.sealing import KeyRole
from signerd.core.server_names import covers, is_local
from signerd.core.validity import ValidityLimits
from signerd.errors import ConfigError, NotNow, Unavailable

MODULE_DEADLINE_S = 20.0
_ROLES = (KeyRole.CHECKPOINT, KeyRole.CHIP_MASTER)
_PLACES = {"token": "in the token", "sealed": "sealed", "none": "none"}
_LOAD = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).C_GetFunctionList"
_RUNTIME = Path("/run")  # of RuntimeDirectory= (systemd.exec(5)): gone while the service is stopped


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold. `run` says what it found, or raises ConfigError."""

    name: str
    run: Callable[[], str]


def start_checks(config: Config, base: Path, now: datetime, *, starting: bool = True) -> tuple[Check, ...]:
    """What every start looks at. `base` is the configuration's directory; `now` is aware. `starting`: what
    the service manager makes for a start has to be there."""
    return (
        Check("server certificate", lambda: _server(config, now, starting=starting)),
        Check("sub-CA", lambda: _authority(config, now)),
        Check("database", lambda: _database(config, base)),
        Check("issuers", lambda: _issuers(config, base, now, starting=starting)),
        Check("second place of the checkpoint", lambda: _head(config, base)),
        Check("tiles", lambda: _tiles(config, base)),
        *((Check("witnesses", lambda: _witnesses(config)),) if config.witnesses else ()),
        *((Check("bucket", lambda: _bucket_opens(config, base)),) if config.publication.bucket else ()),
        Check("administrators' socket", lambda: _socket(config, starting=starting)),
        *((Check("administrators' keys", lambda: _wanted(config)),) if starting else ()),
    )


def all_checks(config: Config, base: Path, now: datetime, dialled: Iterable[str] = ()) -> tuple[Check, ...]:
    """And what `check-config` looks at beyond that. `dialled`: names that stations dial, beside those of the
    settings."""
    registered = Registered(database_url(config, base), config.ledger.head, lambda: _log_key(config))
    return (
        *start_checks(config, base, now, starting=False),
        Check("administrators' keys", lambda: _administrators(config, registered)),
        Check("ends", lambda: _ends(config, base, now, registered)),
        Check("operations CA", lambda: _operations(config, now, registered)),
        Check("server names", lambda: _names(config, (*config.server.names, *dialled))),
        Check("keys", lambda: _keys(config, base)),
        Check("keys of the log", lambda: _log_keys(config, base)),
        Check(
            "what stations saw",
            lambda: compare_with_seen(database_url(config, base), config.ledger.head, _log_key(config)),
        ),
        *((Check("bucket takes tiles", lambda: _bucket(config, base)),) if config.publication.bucket else ()),
        *_token_checks(config, base),
    )


def _token_checks(config: Config, base: Path) -> tuple[Check, ...]:
    if config.hsm.service is not None:
        return (Check("key holder", lambda: asyncio.run(_service(config))),)
    return (
        Check("PKCS#11 module", lambda: _module(config)),
        Check("PIN", lambda: check_pin_file(config.hsm.pin, base)),
    )


async def _service(config: Config) -> str:
    """Connects to the service, and asks nothing."""
    pool = KeyHolderPool(settings_for(config), 1, on_change=lambda: None)
    try:
        await pool.start(b"")
    except Unavailable as error:
        raise NotNow(error.detail) from error
    finally:
        await pool.stop()
    return f"the service at {config.hsm.service} has the keys"


def load_issuer(config: Keys, settings: IssuerSettings | None = None) -> Issuer:
    """The sub-CA and what stands between it and the root, of one issuer; by default of that of `authority`.

    Raises:
        ConfigError: a file cannot be read or is not what it should be.
    """
    settings = settings or config.all_issuers[0]
    limits = ValidityLimits(
        timedelta(days=config.authority.max_validity_days), config.authority.allow_no_expiry
    )
    chain, root = _chain(settings)
    if problems := chain_problems(chain, root):
        raise ConfigError("\n  ".join([f"no relying party follows {settings.certificate}:", *problems]))
    return Issuer.of(chain, limits, root)


def _chain(settings: IssuerSettings) -> tuple[list[x509.Certificate], x509.Certificate]:
    """The sub-CA and what stands above it, without the root, and the root."""
    chain, root = _certificates(settings.certificate), _certificates(settings.root)[0]
    return (chain[:-1] if chain[-1] == root else chain), root


def _server(config: Config, now: datetime, *, starting: bool) -> str:
    """Where the operations CA has ended a start goes on: without a signerd that runs none could be added."""
    server = config.server
    if server.port_file is not None and (server.port_file.is_dir() or not server.port_file.parent.is_dir()):
        raise ConfigError(f"server.port_file: {server.port_file} is no place for a file: name one, or none")
    _private(server.key)
    certificate = ServerFiles(server.certificate, server.key).read().certificate
    ca = operations_ca.issuer_of(certificate, _certificates(server.client_ca))
    if ca is None:
        raise ConfigError(f"{server.certificate} was not issued by a certificate in {server.client_ca}")
    if now > ca.not_valid_after_utc:
        return _over(
            f"nobody can connect: {ca.subject.rfc4514_string()} in {server.client_ca}, which certifies the"
            f" server, ENDED at {ca.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC: signerd operations-ca add,"
            " then activate",
            starting=starting,
        )
    if now > certificate.not_valid_after_utc:
        raise ConfigError(
            f"{server.certificate} ended at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC, and it"
            f" is {now:%Y-%m-%d %H:%M:%S} now: signerd server renew"
        )
    return _valid(certificate, now)


def _over(text: str, *, starting: bool) -> str:
    """What has ended and only a signerd that runs can mend: `check-config` fails, a start goes on. The log
    says it again each day (`ends_soon`)."""
    if starting:
        return text
    raise ConfigError(text)


def _names(config: Config, dialled: Sequence[str]) -> str:
    """Holds what stations dial against the certificate. A start goes on without it: other stations may be
    served well, and a name is no danger to them."""
    try:
        certified = operations_ca.names_in(_certificates(config.server.certificate)[0])
    except ValueError as error:
        raise ConfigError(f"{config.server.certificate}: {error}") from error
    has = ", ".join(certified) or "none"
    missing = [name for name in dict.fromkeys(dialled) if not covers(certified, name)]
    if missing:
        options = " ".join(f"--name {name}" for name in missing)
        raise ConfigError(
            f"stations that dial {', '.join(missing)} cannot connect: the names in"
            f" {config.server.certificate} are {has}; a certificate with more: signerd server renew {options}"
        )
    host = config.server.listen.rpartition(":")[0].strip("[]")
    if not dialled and not is_local(host) and all(map(is_local, certified)):
        raise ConfigError(
            f"no station on another machine can connect: the names in {config.server.certificate} are {has};"
            " a certificate with the name that they dial: signerd server renew --name NAME; where they dial"
            " these, through a tunnel, say so in server.names"
        )
    return has


def _ends(config: Config, base: Path, now: datetime, registered: Registered) -> str:
    """What ends within 60 days: of the installation, of what its key holder's service shows, and of the peers
    in the registry. It is no fault yet."""
    url = database_url(config, base)
    gone = ended_for_good(config, known_issuers(url), now)
    own = certificate_ends(config, gone)
    ends = [*own, *key_holder_ends(config, own, gone), *peer_ends(registered.peers(), {})]
    soon = [f"{end.what} {end.name} on {end.at:%Y-%m-%d}: {end.remedy}" for end in due(ends, now)]
    if not soon:
        return f"nothing within {WARNED.days} days"
    return "".join(f"\n         ENDS SOON: {line}" for line in soon)


def _operations(config: Config, now: datetime, registered: Registered) -> str:
    """Who certifies peers; while there are two, the peers that have not moved to the newer one."""
    trusted = _certificates(config.server.client_ca)
    newest = f"{trusted[-1].subject.rfc4514_string()} to {trusted[-1].not_valid_after_utc:%Y-%m-%d}"
    if len(trusted) == 1:
        return newest
    by_ca = peers_by_ca(registered.peers(), now)
    moved = by_ca.pop(operations_ca.digest(trusted[-1]), [])
    behind = sorted(uri for uris in by_ca.values() for uri in uris)
    said = f"{newest}, and {len(trusted) - 1} older; {len(moved)} peers have moved"
    return "".join((said, *(f"\n         NOT MOVED: {uri}" for uri in behind)))


def _authority(config: Config, now: datetime) -> str:
    """Its files are of their form. Whether it may have ended depends on whether it issues: `_issuers`."""
    return _valid(load_issuer(config).certificate, now)


def _issuers(config: Config, base: Path, now: datetime, *, starting: bool) -> str:
    """Holds the settings against the ledger. An issuer that is active has to be in them, or nothing could be
    certified and nobody would know why. One that has ended does not keep signerd from starting: its successor
    is announced to a signerd that runs, and one that was replaced ends some day."""
    known = {record.certificate_sha256: record for record in known_issuers(database_url(config, base))}
    said = []
    for settings in config.all_issuers:
        issuer = load_issuer(config, settings)
        record = known.pop(hashlib.sha256(issuer.chain[0]).digest(), None)
        if record is None:
            said.append(f"{settings.name}: NOT ANNOUNCED, it issues nothing: signerd ca add {settings.name}")
        elif record.name != settings.name:
            raise ConfigError(
                f"{settings.certificate} is issuer {record.name} of the ledger, not {settings.name}: give it"
                " that name in the settings (authority.name, issuers.name)"
            )
        elif settings.hsm is None and record.state is IssuerState.ACTIVE:
            said.append(f"{record.name}: active, and its key is NOT HERE: signerd ca activate another one")
        elif now > issuer.allows.ends and record.state is IssuerState.ACTIVE:
            text = (
                f"{record.name} is active and certifies no board any more: it, or a CA above it, ENDED at"
                f" {issuer.allows.ends:%Y-%m-%d %H:%M:%S} UTC: signerd ca add, then activate"
            )
            said.append(_over(text, starting=starting))
        else:
            said.append(f"{record.name}: {record.state.value}, {_valid(issuer.certificate, now)}")
    for record in known.values():
        if record.state is IssuerState.ACTIVE:
            raise ConfigError(
                f"issuer {record.name} is active, and the settings do not have it: its certificate has the"
                f" SHA-256 {record.certificate_sha256.hex()} ([authority] or [[issuers]])"
            )
        said.append(
            f"{record.name}: {record.state.value}, NOT IN THE SETTINGS: its CRLs and chain are missing"
        )
    return "; ".join(said)


def _database(config: Config, base: Path) -> str:
    check_database(database_url(config, base))
    return "at the newest schema"


def _head(config: Config, base: Path) -> str:
    ledger, key = config.ledger, _log_key(config)
    if key.name != ledger.origin:
        raise ConfigError(f"{ledger.vkey} is the key of {key.name}, but ledger.origin is {ledger.origin}")
    data = _read_head(ledger.head)
    if data == note.Checkpoint(key.name, 0, EMPTY_ROOT).body():
        return "no checkpoint was signed yet"
    try:
        keys = known_log_keys(database_url(config, base), key)
        return f"checkpoint of {keys.open(data).size} entries"
    except note.NoteError as error:
        raise ConfigError(f"{ledger.head} holds no checkpoint of this log: {error}") from error


def _log_key(config: Config) -> note.VerifierKey:
    vkey = config.ledger.vkey
    try:
        return note.parse_vkey(installed_files.read(vkey).decode("ascii").strip())
    except ValueError as error:
        raise ConfigError(f"{vkey} is not a verifier key: {error}") from error


def compare_with_seen(url: str, head_file: Path, first: note.VerifierKey) -> str:
    """Whether the database continues a checkpoint that a station saw and that another one did not. Reads
    the ledger, only where such a checkpoint is kept.

    Raises:
        ConfigError: it does not, or something cannot be read.
    """
    file = contradiction_file(head_file)
    if not file.exists():
        return "no station saw a ledger that this one does not continue"
    published = read_second_place(head_file, lambda: known_log_keys(url, first))
    seen = demand_continued(head_file, known_log_keys(url, first), compare_database(url, published))
    size = 0 if seen is None else seen.size
    return f"{file} has a checkpoint over {size} entries, and this ledger continues it: a start removes it"


def _tiles(config: Config, base: Path) -> str:
    """What the start of the ledger looks into: here, that the folder can be made or written."""
    folder = tiles_folder(config, base)
    place = folder if folder.exists() else folder.parent
    if not place.is_dir():
        raise ConfigError(f"publication.folder: {place} is no folder: make it, or name another one")
    if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        raise ConfigError(f"publication.folder: signerd's user cannot write in {place}: chown it")
    return f"in {folder}" if place == folder else f"none yet: signerd makes {folder}"


def _bucket_opens(config: Config, base: Path) -> str:
    """What a start looks at: whether the server answers is no matter of it."""
    settings = config.publication.bucket
    if settings is None:
        return "none"
    return f"tiles go to {open_bucket(settings, base).where} too"


def _bucket(config: Config, base: Path) -> str:
    """Asks the server for the checkpoint, and writes, reads and takes away one object of its own."""
    settings = config.publication.bucket
    if settings is None:
        return "none"
    kind, _, name = settings.secret.partition(":")
    if kind == "credential" and "CREDENTIALS_DIRECTORY" not in os.environ:
        return (
            f"NOT TRIED: signerd's service alone has the credential {name}. To try it, give"
            f" CREDENTIALS_DIRECTORY=DIR, where DIR/{name} is the secret in clear"
        )
    bucket = open_bucket(settings, base)
    try:
        there, said = bucket.note(), "is empty"
        if there is not None:
            keys = known_log_keys(database_url(config, base), _log_key(config))
            try:
                said = f"has {keys.open(there).size} entries"
            except note.NoteError as error:
                raise bucket.other_log(f"its checkpoint is not this log's: {error}") from error
        bucket.probe()
    except BucketTrouble as error:
        passes = error.trouble.code in {TroubleCode.BUSY, TroubleCode.UNREACHABLE}
        raise (NotNow if passes else ConfigError)(f"publication.bucket: {error.detail}") from error
    finally:
        bucket.close()
    return f"{bucket.where} {said}"


def _witnesses(config: Config) -> str:
    open_witnesses(config)
    demanded = config.publication.witnesses_required
    return f"{len(config.witnesses)} are shown each checkpoint, {demanded or 'none'} must cosign it"


def _log_keys(config: Config, base: Path) -> str:
    """Holds the settings against the ledger. A start goes on without it: what is not published says why."""
    first, hsm = vkey_in(config.ledger.vkey), config.hsm
    here = {vkey_in(settings.vkey) for settings in config.checkpoint_keys}
    here |= set() if hsm.checkpoint_key_in == "none" else {first}
    known, said = known_log_keys(database_url(config, base), first).keys, []
    for key in known:
        key_id = key.verifier.key_id.hex()
        if key.state is KeyState.SIGNING and key.verifier not in here:
            raise ConfigError(
                f"key {key_id} is to sign the log and is not in the settings ([hsm] or [[checkpoint_keys]]):"
                f" put it back; where it is lost: signerd checkpoint-key retire {key_id} --reason lost"
            )
        left = key.state is KeyState.RETIRED and key.verifier in here
        more = {
            KeyState.ANNOUNCED: f", does not sign yet: signerd checkpoint-key activate {key_id}",
            KeyState.RETIRED: ": TAKE IT OUT OF THE SETTINGS" if left else "",
        }
        said.append(f"{key_id}: {key.state.value}{more.get(key.state, '')}")
    strangers = here - {key.verifier for key in known}
    said += [f"{key.key_id.hex()}: NOT ANNOUNCED: signerd checkpoint-key add" for key in strangers]
    return "; ".join(said)


def _read_head(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no {path}: is the second place mounted? If it is lost: docs/operations.md,"
            ' "The second place is lost"'
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error


def _socket(config: Config, *, starting: bool) -> str:
    socket = config.admin.socket
    if not starting and socket.parent.parent == _RUNTIME and not socket.parent.exists():
        return f"{socket}; while signerd is stopped there is no {socket.parent}: its unit makes it"
    check_socket_directory(socket)
    return str(socket)


def _wanted(config: Config) -> str:
    """Who the settings ask for approvals. A start reads the ledger later, which decides."""
    wanted = read_administrators(config)
    if wanted is None:
        return "nobody is named"
    return f"the settings name {', '.join(wanted.names)}, threshold {wanted.threshold}"


def _administrators(config: Config, registered: Registered) -> str:
    """Who approves. The ledger decides, whatever the settings say: a difference is said, and keeps nothing
    from starting."""
    wanted, asked = read_administrators(config), registered.administrators()
    if not asked.asked:
        if wanted is None:
            return "nobody is asked for approvals"
        return f"{wanted.threshold} of {', '.join(wanted.names)}, from the next start on"
    said = f"{asked.threshold} of {', '.join(asked.names)}"
    if wanted is None or not wanted.same_as(asked):
        return (
            f"{said}, as the ledger says; THE SETTINGS DIFFER: [approvals] (signerd approval administrators)"
        )
    return said


def _keys(config: Config, base: Path) -> str:
    """Where each key is, and how many tokens open what is sealed: by the file, as the ledger says."""
    hsm = config.hsm
    places = {"checkpoint key": hsm.checkpoint_key_in, "chip master key": hsm.master_key_in}
    said = "; ".join(f"{key}: {_PLACES[place]}" for key, place in {"CA key": "token", **places}.items())
    if not outlive_restarts(hsm):
        said += "; sessions end when signerd does"
    if hsm.sealed is not None:
        _demand_sealed(config, hsm.sealed)
    parts = read_parts(config, database_url(config, base), config.ledger.head)
    if not parts:
        return said
    if wrong := [
        f"{each.spki_sha256.hex()} {each.state}" for each in known_recipients(parts) if not each.certain
    ]:
        raise ConfigError(
            f"{' and '.join(str(part.file) for part in parts)}: not what the ledger says, after a change that"
            f" was interrupted or an old file that was put back (signerd recipient list): {'; '.join(wrong)}"
        )
    count = min(len(part.recipients) for part in parts)
    if count == 1:
        return f"{said}; sealed to ONE TOKEN ALONE: what is sealed is lost with it"
    return f"{said}; sealed to {count} tokens"


def _demand_sealed(config: Config, file: Path) -> None:
    """The installation's own secrets are those that its settings name."""
    hsm = config.hsm
    places = (hsm.checkpoint_key_in, hsm.master_key_in)
    sealed = read_sealed_file(file)
    if sealed.origin != config.ledger.origin:
        raise ConfigError(f"{file} is of the log {sealed.origin}, not of {config.ledger.origin}")
    wanted = {role for role, place in zip(_ROLES, places, strict=True) if place == "sealed"}
    # A first key of the log that is retired stays in the file: nobody opens it any more.
    left = {KeyRole.CHECKPOINT} if hsm.checkpoint_key_in == "none" else set()
    if set(sealed.secrets) - left != wanted:
        raise ConfigError(f"{file} holds other secrets than hsm.checkpoint_key_in and hsm.master_key_in say")


def _module(config: Config) -> str:
    """Loads the module in a process of its own, which calls nothing in it."""
    try:
        done = subprocess.run(  # noqa: S603 -- our own interpreter, and the path that the administrator set
            (sys.executable, "-I", "-c", _LOAD, str(config.hsm.module)),
            capture_output=True,
            env={**os.environ, **config.hsm.environment},
            timeout=MODULE_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{config.hsm.module} does not load within {MODULE_DEADLINE_S} s") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ConfigError(f"hsm.module: {config.hsm.module} is no PKCS#11 module that loads: {said}")
    return str(config.hsm.module)


def _private(path: Path) -> None:
    try:
        found = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(f"{path} must be readable by signerd's user alone: chown it, chmod 0600 {path}")


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(installed_files.read(path))
    except ValueError as error:
        raise ConfigError(f"{path} is not a certificate in PEM") from error


def _valid(certificate: x509.Certificate, now: datetime) -> str:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:  # these files are there already: it is the clock that is wrong, and it may be set right
        return f"valid from {begin:%Y-%m-%d}: NOT YET, by this clock ({now:%Y-%m-%d %H:%M:%S%z})"
    if now > end:
        return f"ENDED on {end:%Y-%m-%d}"
    soon = "; EXPIRES SOON" if end - now < WARNED else ""
    return f"valid to {end:%Y-%m-%d}{soon}"


def login_check(config: Config, base: Path, pin_source: str | None = None) -> Check:
    """Logs in to the token once and tries each key, as `run` would. A wrong PIN is counted by the token."""
    if config.hsm.service is not None:  # which logged in; what it holds, it tried
        return Check("login to the token", lambda: f"done by the service at {config.hsm.service}")
    return Check("login to the token", lambda: asyncio.run(_login(config, base, pin_source)))


async def _login(config: Config, base: Path, pin_source: str | None) -> str:
    pool = KeyHolderPool(settings_for(config), 1, on_change=lambda: None)
    pin = pin_of(config.hsm, base) if pin_source is None else read_pin(pin_source, base)
    try:
        await pool.start(pin)
    except WrongPin:
        raise
    except Unavailable as error:
        raise NotNow(error.detail) from error
    finally:
        pin[:] = bytes(len(pin))
        await pool.stop()
    return f"token {config.hsm.token!r} has the keys, or opens them"
