"""The settings of a key holder's service: one TOML file of its user's, of the form of signerd's own.

config = load(Path("/etc/signerd-key/keyholder.toml"))
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from signerd.config import (
    MAX_ISSUERS,
    Config,
    FilePath,
    IssuerSettings,
    Keys,
    LogNameSettings,
    Name,
    Section,
    SocketPath,
    read_settings,
)
from signerd.core.names import FIRST
from signerd.core.succession import MAX_NUMBER
from signerd.errors import ConfigError


class ServiceSettings(Section):
    """Who it is, whom it serves, and where it remembers."""

    # An order's `shares` name it. Two of one deployment never have one name.
    name: Name = FIRST
    socket: SocketPath
    notes: FilePath  # what it signed; never to be put back to an earlier state
    clients: Annotated[tuple[str, ...], Field(min_length=1)]  # users that may connect: signerd's

    @property
    def state(self) -> Path:
        """The directory of the notes."""
        return self.notes.parent

    @property
    def rejected_pins(self) -> Path:
        """Where it is kept which PINs a token rejected."""
        return self.notes.with_name(self.notes.name + ".rejected-pins")


class HeldIssuerSettings(IssuerSettings):
    """A further issuer, and the CA that products name it by."""

    ca: Name = FIRST


class HeldLogSettings(LogNameSettings):
    """And how far it may have been succeeded: without this, whoever has signerd's files could have any
    history signed under a new name."""

    succession: Annotated[int, Field(ge=1, le=MAX_NUMBER)] = 1


class KeyHolderConfig(Keys):
    """The whole file."""

    reader = "the service's user"
    maker = "signerd key-holder take-over"
    page = "docs/key-holder.md"

    service: ServiceSettings
    ledger: HeldLogSettings
    issuers: Annotated[tuple[HeldIssuerSettings, ...], Field(max_length=MAX_ISSUERS)] = ()

    @property
    def rejected_pins(self) -> Path:
        """Beside the notes."""
        return self.service.rejected_pins

    @model_validator(mode="after")
    def _has_tokens(self) -> Self:
        if any(each.hsm is not None and each.hsm.service is not None for each in self.all_issuers):
            raise ValueError("`service` is for signerd's settings: give module, token and pin here")
        return self


def load(path: Path) -> KeyHolderConfig:
    """Reads and validates the file. Raises ConfigError as `signerd.config.load`."""
    return read_settings(path, KeyHolderConfig)


def who_has_the_token(settings: Config, config: Path, key_holder: Path) -> tuple[Keys, Path]:
    """Settings with module, token and PIN, and their directory: signerd's own, or the service's where it has
    one, for commands that go to the token themselves.

    Raises:
        ConfigError: the service's cannot be read, or are of another installation.
    """
    if settings.hsm.service is None:
        return settings, config.resolve().parent
    try:
        held = load(key_holder)
    except ConfigError as error:
        raise ConfigError(
            f"a service has the token ({settings.hsm.service}): give its settings with --key-holder, as a"
            f" user who may read them: {error}"
        ) from error
    if (held.deployment, held.ledger.origin) != (settings.deployment, settings.ledger.origin):
        raise ConfigError(
            f"{key_holder} is of deployment {held.deployment}, log {held.ledger.origin}, and {config} is not:"
            " give --key-holder of the same installation"
        )
    return held, key_holder.resolve().parent
