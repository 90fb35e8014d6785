"""Enrolment: the station makes its own key, asks for a certificate, and keeps what it is given.

This is the only module of the agent that makes a key, and the key is the station's. No module that
touches a board may import it; tests/hostile/test_agent_makes_no_keys.py holds that.

The key's file is the account's alone: mode 0600 on POSIX, a list of rights on Windows (`private_files`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from agent.adapters.durable_files import replace, write_new
from agent.adapters.enrolment.credentials import (
    StationName,
    check_issuer,
    check_pair,
    parse_cas,
    parse_certificate,
    parse_key,
    read_file,
    read_trust,
    station_name,
)
from agent.adapters.journal import schema as journal_schema
from agent.adapters.journal.owner import check_owner
from agent.adapters.private_files import make_private, make_private_directory
from agent.config import Config, endpoint, is_name, load
from agent.errors import ConfigError

KEY, REQUEST, CERTIFICATE = "station.key", "station.csr.pem", "station.pem"
OPERATIONS_CA, LOG_VKEY, DEVICE_ROOT = "operations-ca.pem", "log.vkey", "device-root.pem"
WITNESSES = "witnesses.vkey"
CONFIG, STATE = "agent.toml", "state"
_WRITABLE = "See that the folder exists, and that this user may write to it."
_OWN = "Put back the key that birthmark-agent enroll made, or enroll into another folder."


@dataclass(frozen=True, slots=True)
class Given:
    """What the administrator gave."""

    certificate: Path
    operations_ca: Path
    log_vkey: Path
    device_root: Path
    address: str  # host:port of signerd
    witnesses: Path | None = None  # verifier keys of the log's witnesses
    witnesses_required: int | None = None


def request(directory: Path, *, deployment: str, site: str, name: str) -> Path:
    """Makes the station's key (P-256), unless it is there, and a request with the station's URI.

    Returns the request's file.

    Raises:
        ConfigError: a name is not of its form, or the directory cannot be written.
    """
    for what, text in (("deployment", deployment), ("site", site), ("name", name)):
        if not is_name(text):
            detail = f"--{what} must be 1 to 64 of [A-Za-z0-9._-], beginning with a letter or digit"
            raise ConfigError(detail, remedy=f"Give another --{what}.")
    try:
        make_private_directory(directory)
        key = _own_key(directory / KEY)
        uri = f"birthmark://{deployment}/station/{site}/{name}"
        (directory / REQUEST).write_bytes(_request(key, uri, name))
    except OSError as error:
        raise ConfigError(f"cannot write {directory}: {error.strerror}", remedy=_WRITABLE) from error
    return directory / REQUEST


def renewal_request(config: Config) -> tuple[Path, StationName]:
    """A request for the key and by the name that the station has, beside its certificate.

    Raises:
        ConfigError: key or certificate cannot be read or do not belong together, or nothing can be written.
    """
    signerd = config.signerd
    certificate = parse_certificate(read_file(signerd.certificate), str(signerd.certificate))
    check_pair(certificate, read_file(signerd.key))
    name = station_name(certificate)
    path = signerd.certificate.with_name(REQUEST)
    try:
        path.write_bytes(_request(_load(signerd.key), name.uri, name.name))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", remedy=_WRITABLE) from error
    return path, name


def install_renewed(config: Config, given: Path, operations_ca: Path | None = None) -> StationName:
    """Puts the certificate that came back in the place of the one that will end, and `operations_ca` in the
    place of the file that says whom the station trusts, if it came along.

    A crash leaves the old certificate or the new one, each of which fits the key. The CAs are replaced first,
    and have the one that signerd's certificate is of.

    Raises:
        ConfigError: it is not for this key or not of this CA, names another station, is an older one of the
            same CA, or cannot be written; the old one stays.
    """
    signerd = config.signerd
    pem = read_file(given, "Name the certificate that signerd's administrator sent back.")
    old = parse_certificate(read_file(signerd.certificate), str(signerd.certificate))
    new = parse_certificate(pem, str(given))
    check_pair(new, read_file(signerd.key))
    ca_pem = read_file(operations_ca or signerd.operations_ca)
    cas = parse_cas(ca_pem, str(operations_ca or signerd.operations_ca))
    check_issuer(new, cas)
    name = station_name(new)
    if name != station_name(old):
        remedy = "Take the certificate that was made for this station."
        raise ConfigError(f"{given} is for {name.uri}, and this is {station_name(old).uri}", remedy=remedy)
    # One that is there already is taken once more: a command that was cut short is given again.
    moves = new.issuer != old.issuer and new.issuer == cas[-1].subject  # the newest CA stands last
    if new.not_valid_after_utc <= old.not_valid_after_utc and not moves and new != old:
        detail = f"{given} ends {new.not_valid_after_utc:%F %T}, no later than the one that is there"
        raise ConfigError(detail, remedy="Have it made anew: signerd station renew")
    try:
        if operations_ca is not None:
            replace(signerd.operations_ca, ca_pem, 0o644)
        replace(signerd.certificate, pem, 0o644)
    except OSError as error:
        raise ConfigError(
            f"cannot write {signerd.certificate}: {error.strerror}", remedy=_WRITABLE
        ) from error
    return name


def _request(key: ec.EllipticCurvePrivateKey, uri: str, name: str) -> bytes:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _own_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The station's key; an existing one is kept, so that a request can be made again."""
    if path.exists():
        key = _load(path)
        make_private(path)  # whatever rights it had
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        # Never readable by others, not for a moment; and never over a key that appeared meanwhile.
        write_new(path, pem)
    return key


def _load(path: Path) -> ec.EllipticCurvePrivateKey:
    key = parse_key(read_file(path), str(path), _OWN)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path} is not an EC key", remedy=_OWN)
    return key


def install(directory: Path, given: Given) -> Path:
    """Checks what was given, puts it beside the key, and makes the journal where the configuration says.

    An existing configuration and an existing journal stay as they are. Returns the configuration.

    Raises:
        ConfigError: the certificate is not for this key, not of this CA, no station's; or a file is wrong.
        JournalError: the journal cannot be made, or the one that is there is another station's.
    """
    try:
        endpoint(given.address)
    except ValueError as error:
        raise ConfigError(f"--signerd {error}", remedy="Give the address that the company named.") from error
    certificate_pem, ca_pem = read_file(given.certificate), read_file(given.operations_ca)
    certificate = parse_certificate(certificate_pem, str(given.certificate))
    check_pair(certificate, read_file(directory / KEY))
    check_issuer(certificate, parse_cas(ca_pem, str(given.operations_ca)))
    name = station_name(certificate)
    read_trust(given.log_vkey, given.device_root, given.witnesses, given.witnesses_required or 1)
    _check_witnesses(directory, given)
    _check_journal(directory, name.uri)
    try:
        for file, data in (
            (CERTIFICATE, certificate_pem),
            (OPERATIONS_CA, ca_pem),
            (LOG_VKEY, read_file(given.log_vkey)),
            (DEVICE_ROOT, read_file(given.device_root)),
            *([] if given.witnesses is None else [(WITNESSES, read_file(given.witnesses))]),
        ):
            (directory / file).write_bytes(data)
        config = directory / CONFIG
        if not config.exists():
            config.write_text(_toml(name.deployment, given), encoding="utf-8")
        state = load(config).state  # an operator may have moved it
        make_private_directory(state)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}", remedy=_WRITABLE) from error
    journal_schema.create(state / journal_schema.FILE_NAME)
    return config


def _check_witnesses(directory: Path, given: Given) -> None:
    """Witnesses that are given are asked for: a configuration that is there stays as it is."""
    if given.witnesses is None:
        if given.witnesses_required is not None:
            remedy = "Give --witnesses too: the file with the witnesses' verifier keys."
            raise ConfigError("--witnesses-required without --witnesses", remedy=remedy)
        return
    config, required = directory / CONFIG, given.witnesses_required or 1
    if not config.exists():
        return
    there = load(config).signerd
    if (there.witnesses, there.cosigners_at_least) != (directory.resolve() / WITNESSES, required):
        raise ConfigError(
            f"{config} is there, and does not ask for these witnesses",
            remedy=f'Write witnesses = "{WITNESSES}" and witnesses_required = {required} into its [signerd],'
            " then give the command again.",
        )


def _check_journal(directory: Path, station: str) -> None:
    """Before anything is written: a folder may have come with another station's, as in the image of a PC, or
    something else is in the way."""
    config = directory / CONFIG
    state = load(config).state if config.exists() else directory / STATE
    if journal_schema.is_there(state / journal_schema.FILE_NAME):
        check_owner(state / journal_schema.FILE_NAME, station)


def _toml(deployment: str, given: Given) -> str:
    """JSON strings are TOML basic strings: both values have passed their form."""
    witnesses = ""
    if given.witnesses is not None:
        witnesses = f'witnesses = "{WITNESSES}"\nwitnesses_required = {given.witnesses_required or 1}\n'
    return f"""\
# Relative paths are relative to this file. birthmark-agent doctor checks it.
deployment = {json.dumps(deployment)}
state = "{STATE}"

[signerd]
address = {json.dumps(given.address)}
certificate = "{CERTIFICATE}"
key = "{KEY}"
operations_ca = "{OPERATIONS_CA}"
log_vkey = "{LOG_VKEY}"
device_root = "{DEVICE_ROOT}"
{witnesses}"""
