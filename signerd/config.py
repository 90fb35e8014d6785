"""signerd's configuration: one TOML file, read once, frozen. Unknown keys are fatal and named.

    config = load(Path("/etc/signerd/signerd.toml"))

Relative paths are relative to the file's directory. The file never holds a secret: the PIN comes from
where `hsm.pin` says.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from abc import abstractmethod
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from signerd.core.cosigning import MAX_WITNESSES, parse_witness_key
from signerd.core.file_problems import MAX_FILE_BYTES, FileKind, FileProblem, parse_file, unreadable
from signerd.core.names import FIRST, is_name
from signerd.core.pkcs11_uri import key_name, token_name
from signerd.core.server_names import MAX_SERVER_NAMES, server_name
from signerd.core.succession import is_successor_s
from signerd.core.tpm_reference import tpm_source
from signerd.errors import ConfigError

MAX_ISSUERS = 32  # beside the first; one a token that was ever used
MAX_CHECKPOINT_KEYS = 8  # beside the first, those that are retired among them
_ORIGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9./_-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_SOCKET_PATH = 107  # bytes: sun_path of unix(7), with the zero at its end


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError("must be 1 to 64 of [A-Za-z0-9._-], beginning with a letter or digit")
    return text


def _origin(text: str) -> str:
    if _ORIGIN.fullmatch(text) is None:
        raise ValueError("must be 1 to 128 of [A-Za-z0-9./_-], beginning with a letter or digit")
    if is_successor_s(text):
        raise ValueError("must be the name that the log was opened under, without /successor- and a number")
    return text


def _sha256(text: str) -> str:
    if _SHA256.fullmatch(text) is None:
        raise ValueError("must be 64 hexadecimal digits, in small letters")
    return text


def _listen(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise ValueError('must be "HOST:PORT"')
    return text


def _local(text: str) -> str:
    host = _listen(text).rpartition(":")[0]
    if host != "localhost" and not ip_address(host.strip("[]")).is_loopback:
        raise ValueError(
            "must be an address of this machine alone, such as 127.0.0.1: metrics are not authenticated"
        )
    return text


def _witness_url(text: str) -> str:
    parts = urlsplit(text)
    local = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if parts.scheme not in {"https", "http"} or (parts.scheme == "http" and not local):
        raise ValueError("must begin with https:// (http:// for this machine alone)")
    if not parts.hostname or parts.query or parts.fragment or parts.username or not text.isascii():
        raise ValueError("must be a witness's submission prefix, as https://witness.example/prefix")
    _ = parts.port  # raises ValueError where it is none
    return text


def _endpoint(text: str) -> str:
    parts = urlsplit(text)
    local = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if parts.scheme not in {"https", "http"} or (parts.scheme == "http" and not local):
        raise ValueError("must begin with https:// (http:// for this machine alone)")
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment or not text.isascii():
        raise ValueError("must be the server's address alone, as https://s3.eu-central-1.amazonaws.com")
    if parts.username is not None:
        raise ValueError("must not hold a name or a password: see access_key and secret")
    _ = parts.port  # raises ValueError where it is none
    return text.rstrip("/")


def _bucket_secret(text: str) -> str:
    kind, _, rest = text.partition(":")
    if kind not in {"file", "credential"} or not rest:
        raise ValueError('must be "credential:NAME" or "file:PATH"; never the secret itself')
    return text


def _witness_key(text: str) -> str:
    parse_witness_key(text)
    return text


def _resolved(path: Path, info: ValidationInfo) -> Path:
    if "\0" in str(path):
        raise ValueError("must not hold a zero byte")
    base = (info.context or {}).get("base")
    return path if base is None else Path(base) / path


def _module(given: object, info: ValidationInfo) -> object:
    """A path as any other, or the name of a library, which the loader finds."""
    base = (info.context or {}).get("base")
    if not isinstance(given, str) or "/" not in given or base is None:
        return given
    return Path(base) / given


def _environment(variables: dict[str, str]) -> dict[str, str]:
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"{name!r} is no variable of an environment (environ(7))")
    return variables


def _socket(path: Path) -> Path:
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH:
        raise ValueError(
            f"{path} has {size} bytes, and the path of a Unix socket at most {MAX_SOCKET_PATH} (unix(7)): "
            "name a shorter one"
        )
    return path


def _pin_source(text: str) -> str:
    kind, _, rest = text.partition(":")
    if kind == "tpm":
        tpm_source(rest)
        return text
    known = {"file": bool(rest), "fd": rest.isdecimal(), "credential": bool(rest), "prompt": not rest}
    if not known.get(kind, False):
        raise ValueError(
            'must be "credential:NAME", "tpm:PATH", "file:PATH", "fd:NUMBER" or "prompt";'
            " never the PIN itself"
        )
    return text


def _token(text: str) -> str:
    if not text:
        raise ValueError("names no token: give its label, its serial number or a PKCS #11 URI")
    token_name(text)
    return text


def _key(text: str) -> str:
    key_name(text)
    return text


TokenReference = Annotated[str, AfterValidator(_token)]
KeyReference = Annotated[str, AfterValidator(_key)]
Name = Annotated[str, AfterValidator(_name)]
ServerName = Annotated[str, AfterValidator(server_name)]
Listen = Annotated[str, AfterValidator(_listen)]
LocalListen = Annotated[str, AfterValidator(_local)]
FilePath = Annotated[Path, AfterValidator(_resolved)]
SocketPath = Annotated[Path, AfterValidator(_resolved), AfterValidator(_socket)]


class Section(BaseModel):
    """A table of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Section):
    """The mTLS listener for stations and auditors."""

    listen: Listen = "127.0.0.1:8443"  # host:port; port 0 lets the kernel choose, see port_file
    # What stations and auditors dial. The certificate has to have each of them; check-config compares.
    names: Annotated[tuple[ServerName, ...], Field(max_length=MAX_SERVER_NAMES)] = ()
    certificate: FilePath  # PEM, with its chain
    key: FilePath  # PEM, mode 0600 or stricter
    client_ca: FilePath  # PEM, the operations CA
    port_file: FilePath | None = None  # where to write the bound port, for tests and demos


class AdminSettings(Section):
    """The Unix socket for administrators. Its directory must be of mode 0700 and ours."""

    socket: SocketPath


class MetricsSettings(Section):
    """Prometheus metrics, on a local port. Absent section: none."""

    listen: LocalListen = "127.0.0.1:9464"


class DatabaseSettings(Section):
    """SQLite file, or a SQLAlchemy URL."""

    url: str  # "sqlite:///signerd.sqlite" is relative to the configuration's directory


class LogNameSettings(Section):
    """The log's name and verifier key."""

    origin: Annotated[str, AfterValidator(_origin)]
    vkey: FilePath  # the log's verifier key, C2SP signed-note text


class WitnessSettings(Section):
    """Who cosigns the log's checkpoints (C2SP tlog-witness)."""

    url: Annotated[str, AfterValidator(_witness_url)]  # the submission prefix
    vkey: Annotated[str, AfterValidator(_witness_key)]  # its verifier key, type 04
    ca: FilePath | None = None  # PEM of what its TLS certificate comes from; absent: the system's roots


class LedgerSettings(LogNameSettings):
    """And the second place of its last checkpoint."""

    head: FilePath  # must not lie where the database's backups go


class BucketSettings(Section):
    """An S3 bucket that has the log's tiles too."""

    endpoint: Annotated[str, AfterValidator(_endpoint)]  # of the S3 server
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]  # the bucket's
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")] = "us-east-1"  # that signatures name
    # Before the path of each tile, with a slash at its end. One log each.
    prefix: Annotated[str, Field(max_length=256, pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*/)*$")] = ""
    access_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9._+=@-]{1,128}$")]
    secret: Annotated[str, AfterValidator(_bucket_secret)]  # where that of the access key is
    ca: FilePath | None = None  # PEM of what its TLS certificate comes from; absent: the system's roots
    addressing: Literal["path", "host"] = "path"  # endpoint/name/…, or name.endpoint/…


class PublicationSettings(Section):
    """The log as tiles (C2SP tlog-tiles), and what a checkpoint must have before anybody is given it."""

    witnesses_required: Annotated[int, Field(ge=0, le=MAX_WITNESSES)] = 0  # of [[witnesses]]
    # Absent: `tiles` beside the database's file, or where that is no file, beside the settings: not beside
    # the second place, which is made anew from the tiles' checkpoint where it is lost.
    folder: FilePath | None = None
    bucket: BucketSettings | None = None  # that has them too; absent: none


_OF_A_TOKEN = ("module", "token", "pin")


class AnyTokenSettings(Section):
    """A PKCS#11 token; or the socket of the service that has it."""

    service: SocketPath | None = None  # of `signerd key-holder run`, in the place of module, token and pin
    module: Annotated[Path, BeforeValidator(_module)] = Path()  # or a library's name, without a slash
    token: TokenReference = ""  # its label, serial number or PKCS #11 URI (`core/pkcs11_uri.py`)
    pin: Annotated[str, AfterValidator(_pin_source)] = ""
    environment: Annotated[dict[str, str], AfterValidator(_environment)] = Field(
        default_factory=dict
    )  # for the module, e.g. SOFTHSM2_CONF
    deadline_s: Annotated[float, Field(gt=0, le=120)] = (
        10.0  # an operation longer than this replaces the process
    )
    start_deadline_s: Annotated[float, Field(gt=0, le=600)] = (
        30.0  # as does opening the token for longer: to load the module, log in and try the keys
    )

    @model_validator(mode="after")
    def _token_or_service(self) -> Self:
        given = [name for name in (*_OF_A_TOKEN, "environment") if name in self.model_fields_set]
        if self.service is not None and given:
            raise ValueError(f"`{given[0]}` is the service's matter: take it away, or `service`")
        if self.service is None and (missing := [name for name in _OF_A_TOKEN if name not in given]):
            raise ValueError(f"`{'`, `'.join(missing)}` missing; or `service` where a service has the token")
        return self


class TokenSettings(AnyTokenSettings):
    """One with a CA key."""

    ca_key: KeyReference = "birthmark-ca"  # label, id:HEX, slot:9c or PKCS #11 URI, as of the other keys
    key_holders: Annotated[int, Field(ge=1, le=16)] = 1


class HsmSettings(TokenSettings):
    """The token of the installation's own keys, and of the issuer in `authority`."""

    checkpoint_key: KeyReference = "birthmark-checkpoint"
    master_key: KeyReference = "birthmark-master"
    sealing_key: KeyReference = "birthmark-sealing"
    # "none" once the CA key of `authority` was lost with its token: another issuer goes on.
    ca_key_in: Literal["token", "none"] = "token"
    # Where the keys are that a token need not be able to hold. `signerd init` chose. "none": the log's first
    # key is retired, or lost, and one of `checkpoint_keys` signs.
    checkpoint_key_in: Literal["token", "sealed", "none"] = "token"
    master_key_in: Literal["token", "sealed", "none"] = "token"
    sealed: FilePath | None = None  # the sealed secrets (docs/formats.md)
    master_commitment: Annotated[str, AfterValidator(_sha256)] | None = None  # where it is sealed

    @property
    def seals(self) -> bool:
        """Whether a key is sealed."""
        return "sealed" in (self.checkpoint_key_in, self.master_key_in)

    @model_validator(mode="after")
    def _places(self) -> Self:
        if self.seals != (self.sealed is not None) and self.service is None:
            raise ValueError(
                "`sealed` names the file of the keys that are sealed: give it where one is, and nowhere else"
            )
        sealed_master = self.master_key_in == "sealed" and self.service is None
        if sealed_master != (self.master_commitment is not None):
            raise ValueError('`master_commitment` stands where master_key_in is "sealed", and nowhere else')
        return self


class AuthoritySettings(Section):
    """The device tree: the issuer whose key is in the token of `hsm`, and bounds on what all issuers sign."""

    name: Name = FIRST  # the issuer's, as the ledger has it; that of `signerd init` is the default
    certificate: FilePath  # PEM, the sub-CA and what stands above it
    root: FilePath  # PEM; whatever relying parties pin
    max_validity_days: Annotated[int, Field(ge=1, le=36500)] = 10950
    allow_no_expiry: bool = True  # notAfter 99991231235959Z (IEEE 802.1AR) is within bounds


class IssuerSettings(Section):
    """A further issuer: its certificate, and the token with its key."""

    name: Name
    certificate: FilePath  # PEM, the sub-CA, with what stands between it and the root
    root: FilePath  # PEM
    hsm: TokenSettings | None = None  # absent: its key is not here, and it signs nothing


class CheckpointKeySettings(AnyTokenSettings):
    """A key of the log that came after the first, and the token that has it or opens it."""

    vkey: FilePath  # its verifier key, C2SP signed-note text
    key_in: Literal["token", "sealed"] = "token"
    key: KeyReference = "birthmark-checkpoint"  # where it is in the token
    sealing_key: KeyReference = "birthmark-sealing"  # where it is sealed
    sealed: FilePath | None = None  # the sealed seed, where it is

    @model_validator(mode="after")
    def _place(self) -> Self:
        if (self.key_in == "sealed") != (self.sealed is not None) and self.service is None:
            raise ValueError('`sealed` names the file of the seed: give it where key_in is "sealed"')
        return self


class LimitsSettings(Section):
    """Bounds on what peers may take."""

    session_lifetime_s: Annotated[int, Field(ge=10, le=86400)] = 900
    station_calls_per_s: Annotated[float, Field(gt=0)] = 20.0
    station_burst: Annotated[int, Field(ge=1)] = 200
    auditor_calls_per_s: Annotated[float, Field(gt=0)] = 200.0
    auditor_burst: Annotated[int, Field(ge=1)] = 1000
    refusals_per_h: Annotated[int, Field(ge=1)] = 600  # entries a key and code; beyond it they are folded
    concurrent_calls: Annotated[int, Field(ge=1)] = 256
    # Of all peers together, handshakes among them. Fewer where the limit on open files is too low for them.
    connections: Annotated[int, Field(ge=64, le=1_000_000)] = 8192
    streams_per_connection: Annotated[int, Field(ge=1)] = 64


class HygieneSettings(Section):
    """What signerd does in the background about what it certified."""

    # Hours between searches for RSA keys that share a prime, the first at start; 0: only when asked.
    shared_primes_every_h: Annotated[int, Field(ge=0, le=8760)] = 24
    # Hours between comparisons of the whole database with the ledger, the first soon after start; 0: never.
    database_every_h: Annotated[int, Field(ge=0, le=8760)] = 24


class ApprovalSettings(Section):
    """Administrators who are to approve what matters. Absent section: nobody is asked, until the ledger says
    otherwise."""

    threshold: Annotated[int, Field(ge=1, le=16)]  # how many of them
    administrators: FilePath  # their SSH keys (docs/formats.md, "Approvals")


class LogSettings(Section):
    """Structured logs, JSON lines on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Keys(Section):
    """What signerd's file and that of a key holder's service both say."""

    deployment: Name
    ledger: LogNameSettings
    hsm: HsmSettings
    authority: AuthoritySettings
    # Further ones, as `signerd ca add` wrote them.
    issuers: Annotated[tuple[IssuerSettings, ...], Field(max_length=MAX_ISSUERS)] = ()
    # Keys of the log after the first, as `signerd checkpoint-key add` wrote them.
    checkpoint_keys: Annotated[tuple[CheckpointKeySettings, ...], Field(max_length=MAX_CHECKPOINT_KEYS)] = ()
    approvals: ApprovalSettings | None = None
    log: LogSettings = LogSettings()

    # For errors: who may read the file, what makes it, and where its keys are shown.
    reader: ClassVar[str] = "signerd's user"
    maker: ClassVar[str] = "signerd init"
    page: ClassVar[str] = "deploy/examples/signerd.toml"

    @property
    @abstractmethod
    def rejected_pins(self) -> Path:
        """Where it is kept which PINs a token rejected."""

    @property
    def all_issuers(self) -> tuple[IssuerSettings, ...]:
        """That of `authority` first."""
        authority, hsm = self.authority, self.hsm if self.hsm.ca_key_in == "token" else None
        first = IssuerSettings.model_construct(
            name=authority.name, certificate=authority.certificate, root=authority.root, hsm=hsm
        )
        return (first, *self.issuers)

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [issuer.name for issuer in self.all_issuers]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two issuers have the name {twice} (authority.name, issuers.name)")
        return self


class Config(Keys):
    """signerd's whole file."""

    server: ServerSettings
    admin: AdminSettings
    metrics: MetricsSettings | None = None
    database: DatabaseSettings
    ledger: LedgerSettings
    limits: LimitsSettings = LimitsSettings()
    hygiene: HygieneSettings = HygieneSettings()
    witnesses: Annotated[tuple[WitnessSettings, ...], Field(max_length=MAX_WITNESSES)] = ()
    publication: PublicationSettings = PublicationSettings()

    @model_validator(mode="after")
    def _enough_witnesses(self) -> Self:
        keys = [parse_witness_key(witness.vkey).public_key for witness in self.witnesses]
        if len(set(keys)) != len(keys):
            raise ValueError("two of [[witnesses]] have one key: they are one witness")
        if self.publication.witnesses_required > len(keys):
            raise ValueError(
                f"publication.witnesses_required is {self.publication.witnesses_required}, and [[witnesses]]"
                f" names {len(keys)}: nothing could be published"
            )
        return self

    @property
    def rejected_pins(self) -> Path:
        """Beside the second place of the checkpoint."""
        return self.ledger.head.with_name(self.ledger.head.name + ".rejected-pins")


def load(path: Path) -> Config:
    """Reads and validates signerd's file. Raises as `read_settings`."""
    return read_settings(path, Config)


S = TypeVar("S", bound=Keys)


def read_settings(path: Path, kind: type[S]) -> S:
    """Reads and validates a file of settings.

    Raises:
        ConfigError: it cannot be read, is no TOML, or a key is unknown, missing or wrong; all of them named.
    """
    file = FileKind(maker=kind.maker, reader=kind.reader, page=kind.page)
    try:
        return parse_file(path, _read(path), kind, file, {"base": path.resolve().parent})
    except OSError as error:
        raise ConfigError(str(unreadable(path, error, file))) from error
    except FileProblem as error:
        raise ConfigError(str(error)) from error


def _read(path: Path) -> bytes:
    if stat.S_ISDIR(path.stat().st_mode):
        raise IsADirectoryError(errno.EISDIR, "", str(path))
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def database_url(config: Config, base: Path) -> str:
    """The SQLAlchemy URL, a relative SQLite path taken as relative to `base`."""
    prefix = "sqlite:///"
    if config.database.url.startswith(prefix):
        return prefix + str(base / config.database.url.removeprefix(prefix))
    return config.database.url


def tiles_folder(config: Config, base: Path) -> Path:
    """Where the log's tiles are."""
    if config.publication.folder is not None:
        return config.publication.folder
    url, prefix = database_url(config, base), "sqlite:///"
    return (Path(url.removeprefix(prefix)).parent if url.startswith(prefix) else base) / "tiles"
