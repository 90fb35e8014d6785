"""The station's configuration: one TOML file, read once, frozen. Unknown keys are fatal and named.

    config = load(Path("agent.toml"))

Relative paths are relative to the file's directory. `birthmark-agent enroll --install` writes the file.
"""

from __future__ import annotations

import errno
import re
import stat
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from agent.core.file_problems import MAX_FILE_BYTES, FileKind, FileProblem, parse_file, unreadable
from agent.core.log_keys import MAX_WITNESSES
from agent.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_PORT_NAME = re.compile(r"usb-.*|COM[0-9]+|/.*|\\\\.*", re.IGNORECASE)  # as systems and `ports` name them
_MAX_PATH_PART = 255  # bytes: NAME_MAX of Linux; Windows has as many characters
_MAX_PATH = 4_000  # below PATH_MAX, with what is added to it
_MAX_PLACE = 64  # characters; it stands on labels, in tables and in files
_FILE = FileKind(maker="birthmark-agent enroll", reader="the station's user", page="docs/stations.md")
_ENDPOINT = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):(?P<port>[0-9]{1,5})")


def is_name(text: str) -> bool:
    """True for a deployment, site, station or work order name (docs/formats.md, "Names and bounds")."""
    return _NAME.fullmatch(text) is not None


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError("must be 1 to 64 of [A-Za-z0-9._-], beginning with a letter or digit")
    return text


def _path_text(text: object) -> object:
    """What no system takes as a path. Other types are the model's to refuse."""
    if isinstance(text, str):
        if not text.strip():
            raise ValueError("must not be empty")
        longest = max(len(part.encode("utf-8", "surrogateescape")) for part in text.split("/"))
        if "\0" in text or longest > _MAX_PATH_PART or len(text) > _MAX_PATH:
            raise ValueError(f"is no path: a name in it has at most {_MAX_PATH_PART} bytes, and none is NUL")
    return text


def _resolved(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return path if base is None else Path(base) / path


def endpoint(text: str) -> str:
    """Checks `host:port`; raises ValueError."""
    match = _ENDPOINT.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65_536:
        raise ValueError("must be host:port")
    return text


def _time_of_day(text: str) -> str:
    if _TIME_OF_DAY.fullmatch(text) is None:
        raise ValueError("must be HH:MM, for example 06:00")
    return text


def _place(text: str) -> str:
    if not 0 < len(text) <= _MAX_PLACE or not text.isprintable() or text.strip() != text:
        raise ValueError(f"must be 1 to {_MAX_PLACE} printable characters, without blanks at its ends")
    if _PORT_NAME.fullmatch(text):
        raise ValueError("reads like the own name of a port, perhaps of another one: say where it is")
    return text


def _port(text: str) -> str:
    _path_text(text)
    if text.strip() != text:
        raise ValueError("must have no blanks at its ends")
    return text


Name = Annotated[str, AfterValidator(_name)]
PortPattern = Annotated[str, AfterValidator(_port)]
FilePath = Annotated[Path, BeforeValidator(_path_text), AfterValidator(_resolved)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Signerd(_Section):
    """Where signerd is, and what this station was given at enrolment. All files are PEM but the vkey."""

    address: Annotated[str, AfterValidator(endpoint)]
    certificate: FilePath  # the station's
    key: FilePath  # the station's; mode 0600
    operations_ca: FilePath
    log_vkey: FilePath  # the ledger's verifier key, C2SP signed-note text
    device_root: FilePath  # the root of the boards' certificates, or several
    witnesses: FilePath | None = None  # verifier keys of the log's witnesses; none: receipts need none
    witnesses_required: Annotated[int, Field(ge=1, le=MAX_WITNESSES)] | None = None  # how many; none: one

    @model_validator(mode="after")
    def _witnesses_are_named(self) -> Self:
        if self.witnesses_required is not None and self.witnesses is None:
            raise ValueError("witnesses_required wants signerd.witnesses, the file of their verifier keys")
        return self

    @property
    def cosigners_at_least(self) -> int:
        """How many witnesses have to have cosigned; 0 where none are named."""
        return 0 if self.witnesses is None else self.witnesses_required or 1


class Timeouts(_Section):
    """How long the station waits for signerd, in seconds."""

    call_s: Seconds = 10.0  # one call
    signer_wait_s: Seconds = 120.0  # a board for a signerd that does not answer
    stamp_wait_s: Seconds = 10.0  # a board for the answer to its stamp; then the outbox has it
    stop_s: Seconds = 20.0  # boards under way when the station is told to stop


class BundleFiles(_Section):
    """The firmware of the product that this station builds."""

    path: FilePath  # the bundle, a zip file
    key: FilePath  # the company's Ed25519 public key, PEM


class LabelPlace(_Section):
    """Where labels go, and what they look like. At least one of `printer` and `folder`."""

    template: FilePath  # the product's label, a TOML file (docs/stations.md, "Labels")
    printer: str | None = None  # tcp://host:9100, or a device such as /dev/usb/lp0 or LPT1
    status: bool | None = None  # ask the printer for its status; None: where it can answer
    folder: FilePath | None = None
    formats: tuple[Literal["png", "svg", "pdf", "zpl"], ...] = ("png",)  # of the files in the folder


class Page(_Section):
    """The page of port tiles, for a tablet on the line."""

    listen: Annotated[str, AfterValidator(endpoint)] = "127.0.0.1:8480"
    hosts: tuple[str, ...] = ()  # further names under which browsers may ask for it


class Log(_Section):
    """The station's log, and what `--trace` writes. Bounded: `files` of `file_mb` each."""

    folder: FilePath | None = None  # none: the state directory
    file_mb: Annotated[int, Field(ge=1, le=1000)] = 2  # MiB
    files: Annotated[int, Field(ge=1, le=100)] = 5
    level: Literal["debug", "info", "warning", "error"] = "info"


class Results(_Section):
    """Where results go, for the MES."""

    folder: FilePath | None = None  # a .jsonl and a .csv file a day
    command: tuple[str, ...] = ()  # run for each board, with its result as JSON on standard input
    command_timeout_s: Seconds = 30.0


class Config(_Section):
    """The whole file."""

    deployment: Name
    signerd: Signerd
    state: FilePath  # directory of the journal
    driver: Name = "smp"  # entry point of group birthmark.drivers
    drivers: dict[Name, dict[str, Any]] = Field(default_factory=dict)  # options by driver, e.g. baudrate
    ports: tuple[
        Annotated[str, AfterValidator(_port)], ...
    ] = ()  # device names or globs; none: every USB serial port
    recipe: FilePath | None = None  # none: the driver's own
    bundle: BundleFiles | None = None
    label: LabelPlace | None = None
    page: Page | None = None  # none: no page is served
    results: Results = Results()
    log: Log = Log()
    # A port's name to what it is called on the line.
    places: dict[PortPattern, Annotated[str, AfterValidator(_place)]] = Field(default_factory=dict)
    shifts: tuple[Annotated[str, AfterValidator(_time_of_day)], ...] = ()  # HH:MM, when counts begin anew
    board_retries: Annotated[int, Field(ge=0, le=10)] = 1  # whole ways of a board that failed and may pass
    clock_bound_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0  # this PC's clock against signerd's
    timeouts: Timeouts = Timeouts()


def load(path: Path) -> Config:
    """Reads and validates the file.

    Raises:
        ConfigError: it cannot be read, is no TOML, or a key is unknown, missing or wrong; all of them named.
    """
    try:
        return parse_file(path, _read(path), Config, _FILE, {"base": path.resolve().parent})
    except OSError as error:
        problem = unreadable(path, error, _FILE)
        raise ConfigError(problem.what, remedy=problem.remedy) from error
    except FileProblem as error:
        raise ConfigError(error.what, remedy=error.remedy) from error


def _read(path: Path) -> bytes:
    if stat.S_ISDIR(path.stat().st_mode):  # Windows would say that this user may not read it
        raise IsADirectoryError(errno.EISDIR, "", str(path))
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)
