"""The auditor's configuration: one TOML file, read once, frozen. Unknown keys are fatal and named.

Relative paths are relative to the file's directory. `birthmark-auditor enroll --install` writes one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from auditor.core.toml_text import TomlError, read_toml
from auditor.errors import ConfigError


def _resolved(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return path if base is None else Path(base) / path


FilePath = Annotated[Path, AfterValidator(_resolved)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Signerd(_Section):
    """Where signerd listens, and whom to take for it."""

    endpoint: Annotated[str, Field(pattern=r"^[^\s/]+:[0-9]{1,5}$")]  # host:port
    operations_ca: FilePath  # PEM; nothing else is trusted as a root of the connection


class Identity(_Section):
    """Who we are: a certificate of the operations CA."""

    certificate: FilePath  # PEM
    key: FilePath  # PEM, mode 0600


class TrustFiles(_Section):
    """What the audit is measured against. Take both from the company, not from signerd's host."""

    log_vkey: FilePath  # C2SP verifier key
    device_root: FilePath  # PEM, the offline root, or several


class Config(_Section):
    """The whole file."""

    deployment: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
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
        data = read_toml(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; `birthmark-auditor enroll` makes one"
        ) from error
    except TomlError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    try:
        return Config.model_validate(data, context={"base": path.resolve().parent})
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise ConfigError(f"{path}:\n" + "\n".join(lines)) from error


def read_bytes(path: Path, what: str) -> bytes:
    """A file that the configuration names. Raises ConfigError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {what} {path}: {error.strerror}") from error
