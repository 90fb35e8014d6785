"""Writes `signerd.toml`, and reads it back through `signerd.config` before anything relies on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from signerd.adapters import durable_files
from signerd.adapters.installation.layout import PUBLIC, Layout, write_new
from signerd.adapters.installation.places import Places
from signerd.config import Config, load
from signerd.core.names import Place
from signerd.core.server_names import names_for, server_names
from signerd.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Choices:
    """What differs between installations."""

    deployment: str
    listen: str
    server_names: tuple[str, ...]
    origin: str
    module: Path
    token: str
    pin_source: str
    metrics: bool
    environment: Mapping[str, str] = field(default_factory=dict)
    ca_key: str | None = None  # names of keys, where they are not `HsmSettings`' own
    sealing_key: str | None = None
    places: Places = field(default_factory=Places)
    master_commitment: bytes = b""


@dataclass(frozen=True, slots=True)
class Names:
    """Of the server: what stations dial, and all that its certificate says."""

    dialled: tuple[str, ...]
    certified: tuple[str, ...]


def checked_names(dialled: Sequence[str], listen: str) -> Names:
    """Raises ConfigError for a name that is none, and for a `listen` that is not HOST:PORT."""
    host = host_of(listen)
    try:
        return Names(server_names(dialled), names_for(dialled, host))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def write_settings(layout: Layout, choices: Choices) -> Config:
    """Writes the file; the configuration is what signerd will read.

    Raises:
        ConfigError: a choice is not of its form; the file then does not stay.
    """
    write_new(layout.config, _text(choices).encode(), PUBLIC)
    try:
        return load(layout.config)
    except ConfigError:
        layout.config.unlink()
        raise


def rewrite_settings(layout: Layout, choices: Choices) -> Config:
    """The file once more, when the token has said what it can do. A crash leaves one of the two: the
    installation is not finished, and `init` begins anew in another directory.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        durable_files.replace(layout.config, _text(choices).encode(), PUBLIC)
    except OSError as error:
        raise ConfigError(f"cannot write {layout.config}: {error.strerror}") from error
    return load(layout.config)


def host_of(listen: str) -> str:
    """The host of `host:port`. Raises ConfigError."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"{listen!r} is not HOST:PORT")
    return host.strip("[]")


def _text(choices: Choices) -> str:
    metrics = '\n[metrics]\nlisten = "127.0.0.1:9464"\n' if choices.metrics else ""
    environment = "".join(
        f"{_string(name)} = {_string(value)}\n" for name, value in choices.environment.items()
    )
    if environment:
        environment = f"\n[hsm.environment]\n{environment}"
    names = ", ".join(map(_string, choices.server_names))
    names = f"names = [{names}]  # what stations dial; the certificate has them\n" if names else ""
    return f"""\
# Made by `signerd init`. Relative paths are relative to this file's directory. No secret belongs in here.
deployment = {_string(choices.deployment)}

[server]
listen = {_string(choices.listen)}
{names}certificate = "operations/server.pem"
key = "operations/server.key"
client_ca = "operations/ca.pem"
port_file = "signerd.port"

[admin]
socket = "admin/admin.sock"
{metrics}
[database]
url = "sqlite:///signerd.sqlite"

[ledger]
origin = {_string(choices.origin)}
vkey = "log.vkey"
head = "head/checkpoint"  # keep it where the database's backups do not go

[hsm]
module = {_string(str(choices.module))}
token = {_string(choices.token)}
pin = {_string(choices.pin_source)}
{_places(choices)}{environment}
[authority]
certificate = "ca/sub-ca.pem"
root = "ca/root.pem"
"""


def _places(choices: Choices) -> str:
    """Nothing where all keys are in the token."""
    places = choices.places
    names = {"ca_key": choices.ca_key, "sealing_key": choices.sealing_key}
    lines = [f"{key} = {_string(name)}" for key, name in names.items() if name is not None]
    if (places.checkpoint_key, places.master_key) == (Place.TOKEN, Place.TOKEN):
        return "".join(f"{line}\n" for line in lines)
    lines += [
        f"checkpoint_key_in = {_string(places.checkpoint_key)}",
        f"master_key_in = {_string(places.master_key)}",
    ]
    if places.seals:
        lines.append('sealed = "sealed.json"')
    if choices.master_commitment:
        lines.append(f"master_commitment = {_string(choices.master_commitment.hex())}")
    return "".join(f"{line}\n" for line in lines)


def _string(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which JSON leaves bare and TOML forbids.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
