"""The auditor's configuration: one TOML file, read once, frozen. Unknown keys are fatal and named.

Relative paths are relative to the file's directory. `birthmark-auditor enroll --install` writes one.
"""

from __future__ import annotations

import errno
import re
import stat
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from auditor.core.cosigners import MAX_WITNESSES
from auditor.core.file_problems import MAX_FILE_BYTES, FileKind, FileProblem, parse_file, unreadable
from auditor.core.toml_text import TomlError, without_mark
from auditor.errors import ConfigError

_FILE = FileKind(
    maker="birthmark-auditor enroll", reader="the auditor's user", page="deploy/examples/auditor.toml"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ENDPOINT = re.compile(r"[^\s/]+:[0-9]{1,5}")


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise ValueError("must be 1 to 64 of [A-Za-z0-9._-], beginning with a letter or digit")
    return text


def _endpoint(text: str) -> str:
    if _ENDPOINT.fullmatch(text) is None:
        raise ValueError("must be host:port")
    return text


def _resolved(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return path if base is None else Path(base) / path


FilePath = Annotated[Path, AfterValidator(_resolved)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Signerd(_Section):
    """Where signerd listens, and whom to take for it."""

    endpoint: Annotated[str, AfterValidator(_endpoint)]
    operations_ca: FilePath  # PEM; nothing else is trusted as a root of the connection


class Identity(_Section):
    """Who we are: a certificate of the operations CA."""

    certificate: FilePath  # PEM
    key: FilePath  # PEM, mode 0600


class TrustFiles(_Section):
    """What the audit is measured against. Take both from the company, not from signerd's host."""

    log_vkey: FilePath  # C2SP verifier key
    device_root: FilePath  # PEM, the offline root, or several
    witnesses: FilePath | None = None  # verifier keys of the log's witnesses, one a line; none: not asked for
    witnesses_required: Annotated[int, Field(ge=1, le=MAX_WITNESSES)] | None = None  # how many; none: one

    @model_validator(mode="after")
    def _witnesses_are_named(self) -> Self:
        if self.witnesses_required is not None and self.witnesses is None:
            raise ValueError("witnesses_required wants trust.witnesses, the file of their verifier keys")
        return self


class Config(_Section):
    """The whole file."""

    deployment: Annotated[str, AfterValidator(_name)]
    state: FilePath  # directory: what one run keeps for the next
    signerd: Signerd
    identity: Identity
    trust: TrustFiles


def load(path: Path) -> Config:
    """Reads and validates the file.

    Raises:
        ConfigError: it cannot be read, is no TOML, or a key is unknown, missing or wrong; all of them named.
    """
    try:
        return parse_file(path, _read(path), Config, _FILE, {"base": path.resolve().parent})
    except OSError as error:
        raise ConfigError(str(unreadable(path, error, _FILE))) from error
    except FileProblem as error:
        raise ConfigError(str(error)) from error


def _read(path: Path) -> bytes:
    if stat.S_ISDIR(path.stat().st_mode):  # Windows would say that this user may not read it
        raise IsADirectoryError(errno.EISDIR, "", str(path))
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def read_bytes(path: Path, what: str) -> bytes:
    """A file, byte for byte. Raises ConfigError."""
    try:
        return path.read_bytes()
    except OSError as error:
        remedy = f"Give the right path, or run the command as {_FILE.reader}."
        raise ConfigError(f"cannot read {what} {path}: {error.strerror}. {remedy}") from error


def read_text_file(path: Path, what: str) -> bytes:
    """A PEM or a key that the configuration names, without a byte order mark: gRPC takes none before a PEM.

    Raises ConfigError.
    """
    data = read_bytes(path, what)
    try:
        return without_mark(data)
    except TomlError as error:
        raise ConfigError(f"{path}: {error.what}. {error.mend.removesuffix('.')}") from error
