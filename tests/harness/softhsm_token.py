"""A SoftHSM with one new token, as options of the commands that take a token."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from signerd.adapters.installation import softhsm


def new_token(directory: Path, environment: Mapping[str, str] = MappingProxyType({})) -> list[str | Path]:
    """Makes it in `directory`. This `environment` of its module goes beside its own."""
    module = softhsm.find_module()
    own, pin = softhsm.create_token(directory, module)
    return token_options(module, softhsm.TOKEN_LABEL, pin, directory / "pin", own | dict(environment))


def token_options(
    module: str | Path, token: str, pin: bytes, pin_file: Path, environment: Mapping[str, str]
) -> list[str | Path]:
    """Of any token; its PIN goes into the file."""
    pin_file.write_bytes(pin)
    pin_file.chmod(0o400)
    named = [f"--hsm-env={name}={value}" for name, value in environment.items()]
    return ["--module", module, "--token", token, "--pin", f"file:{pin_file}", *named]
