"""`signerd init DIR --dev`: everything in one directory, with SoftHSM. For a desk and for tests alone.

The offline root is not offline, and the PIN lies beside the token: whoever reads the directory is the CA.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from signerd.adapters import device_ca
from signerd.adapters.installation import parts, softhsm
from signerd.adapters.installation.keys import demand_key_type, generate_keys
from signerd.adapters.installation.layout import (
    PIN,
    Layout,
    make_directory,
    make_installation_directory,
    write_certificate,
    write_key,
    write_new,
)
from signerd.adapters.installation.places import Places, Wishes, decide
from signerd.adapters.installation.settings_file import Choices, Names, checked_names, write_settings
from signerd.core.sealing import SEALING, KeyRole
from signerd.errors import ConfigError, Fault

_OFFERS = (*KeyRole, SEALING)  # of SoftHSM


def create_dev(
    directory: Path,
    *,
    deployment: str = "dev",
    listen: str = "127.0.0.1:0",
    server_names: Sequence[str] = (),
    by: str | None = None,
    wishes: Wishes | None = None,
    key_type: str = "p256",
) -> Path:
    """Makes a complete development installation and returns the path of its `signerd.toml`.

    `server_names`: what stations dial, beside localhost. `by`: who makes it, for the ledger. `wishes`: where
    keys are kept that the token need not hold. `key_type`: of the sub-CA.

    Raises:
        ConfigError: the directory is not empty, SoftHSM is missing, or a value is not of its form. What was
            made so far stays, and the text says what to remove.
    """
    demand_key_type(key_type)
    names = checked_names(server_names, listen)
    module = softhsm.find_module()
    places = decide(wishes or Wishes(), _OFFERS)
    layout = make_installation_directory(directory)
    try:
        _fill(layout, deployment, listen, names, module, by, places, key_type)
    except (ConfigError, Fault, OSError) as error:
        raise ConfigError(f"{error}\nremove {layout.directory} before you start again") from error
    return layout.config


def _fill(
    layout: Layout,
    deployment: str,
    listen: str,
    names: Names,
    module: Path,
    by: str | None,
    places: Places,
    key_type: str,
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    environment, throwaway_pin = softhsm.create_token(layout.softhsm, module)
    pin = secrets.token_urlsafe(24).encode()
    write_new(layout.pin, pin + b"\n", PIN)
    choices = Choices(
        deployment=deployment,
        listen=listen,
        server_names=names.dialled,
        origin=f"{deployment}.birthmark.example/line",
        module=module,
        token=softhsm.TOKEN_LABEL,
        pin_source="file:hsm.pin",
        metrics=False,
        environment=environment,
    )
    config = write_settings(layout, choices)
    parts.write_operations(layout, deployment, names.certified, now)
    keys = asyncio.run(
        generate_keys(
            config.hsm,
            throwaway_pin,
            None,
            key_type=key_type,
            common_name=device_ca.sub_ca_common_name(deployment),
            origin=choices.origin,
            places=places,
            new_pin=pin,
        )
    )
    root, root_key = device_ca.create_root(deployment, now)
    sub_ca = device_ca.sign_sub_ca(keys.request, root, root_key, now)
    make_directory(layout.offline_root)
    write_certificate(layout.offline_root / "root.pem", root)
    write_key(layout.offline_root / "root.key", root_key)
    config = parts.keep_keys(layout, replace(choices, places=places), keys)
    vkey = layout.vkey.read_text(encoding="ascii").strip()
    parts.write_device_certificates(layout, (sub_ca,), root)
    parts.open_ledger(config, layout, vkey, sub_ca, root, now, by)
