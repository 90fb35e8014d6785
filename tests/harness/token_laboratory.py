"""The laboratory's tokens as `signerd token probe` sees them, each with keys of its kinds."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.process import ProgramError, run
from harness.signerd_commands import SIGNERD
from signerd.adapters.installation import softhsm
from tokens import opencryptoki, tpm2_token, yubikey
from tokens.opencryptoki import OpencryptokiToken
from tokens.piv_card import PivCard
from tokens.tpm2_token import Tpm2Token
from tokens.yubikey import VirtualYubiKey

_PIN = "123456"
_YUBIKEY_SLOTS = {"01": "9a", "02": "9c", "03": "9d", "05": "82"}


@dataclass(frozen=True, slots=True)
class Bed:
    """A token that is there."""

    module: str | Path
    token: str
    environment: Mapping[str, str]
    names: Mapping[str, str] = field(default_factory=dict)  # of keys, by id; else their labels


@contextmanager
def _softhsm(folder: Path) -> Iterator[Bed]:
    (folder / "tokens").mkdir(parents=True)
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder / 'tokens'}\n")
    environment, module = {"SOFTHSM2_CONF": str(settings)}, softhsm.find_module()
    of_user = {**os.environ, **environment}
    command = ["softhsm2-util", "--init-token", "--free", "--label", "lab", "--pin", _PIN, "--so-pin", _PIN]
    run(command, environment=of_user)
    tool = ["pkcs11-tool", "--module", str(module), "--token-label", "lab", "--login", "--pin", _PIN]
    for number, (label, kind) in enumerate(
        (("P-256", "EC:prime256v1"), ("RSA 2048", "rsa:2048"), ("Ed25519", "EC:edwards25519")), 1
    ):
        made = ["--keypairgen", "--key-type", kind, "--id", f"{number:02x}", "--label", label]
        run([*tool, *made], environment=of_user)
    made = ["--keygen", "--key-type", "GENERIC:32", "--id", "04", "--label", "HMAC", "--usage-sign"]
    run([*tool, *made], environment=of_user)
    yield Bed(module, "lab", environment)


@contextmanager
def _yubikey(_: Path) -> Iterator[Bed]:
    with VirtualYubiKey(PivCard(serial=61)) as key:
        for slot in ("9a", "9c", "9d"):
            key.generate(slot)
        key.generate("82", "RSA2048")
        yield Bed(key.module, key.label(), key.environment, _YUBIKEY_SLOTS)


@contextmanager
def _tpm2(_: Path) -> Iterator[Bed]:
    with Tpm2Token() as token:
        token.add_key("P-256", "ecc256")
        token.add_key("RSA 2048", "rsa2048")
        token.add_key("HMAC", "hmac:sha256")
        yield Bed(token.module, token.label, token.environment)


@contextmanager
def _opencryptoki(_: Path) -> Iterator[Bed]:
    with OpencryptokiToken() as token:
        tool = ["pkcs11-tool", "--module", str(token.module), "--token-label", token.label, "--login"]
        tool += ["--pin", token.pin, "--keypairgen", "--key-type", "rsa:2048", "--label", "RSA 2048"]
        run(tool, environment={**os.environ, **token.environment})
        yield Bed(token.module, token.label, token.environment)


@dataclass(frozen=True, slots=True)
class Token:
    """One of the laboratory."""

    page: str  # below deploy/hsm
    missing: Callable[[], str | None]
    bed: Callable[[Path], AbstractContextManager[Bed]]
    packages: tuple[str, ...]  # of Debian, whose versions say what was run


LABORATORY = {
    "SoftHSM": Token("softhsm.md", lambda: None, _softhsm, ("libsofthsm2",)),
    "YubiKey in software": Token("yubikey.md", yubikey.missing, _yubikey, ("ykcs11", "pcscd")),
    "TPM 2.0 (swtpm)": Token("tpm2.md", tpm2_token.missing, _tpm2, ("libtpm2-pkcs11-1", "swtpm")),
    "opencryptoki": Token("opencryptoki.md", opencryptoki.missing, _opencryptoki, ("opencryptoki",)),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One key of a token."""

    token: str
    key: str
    mechanism: str
    per_second: float
    median_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """What the probe found."""

    rows: list[Row]
    sealed: list[str]  # which of signerd's secrets such a token cannot hold


def probe(name: str, folder: Path, *, seconds: float) -> Report:
    """`signerd token probe --json`, over a token that is made in `folder`."""
    folder.mkdir(exist_ok=True)
    pin = folder / "token.pin"
    pin.write_text(_PIN)
    pin.chmod(0o400)
    with LABORATORY[name].bed(folder / "bed") as bed:
        variables = [f"--hsm-env={each}={value}" for each, value in bed.environment.items()]
        command: list[str | Path] = [
            SIGNERD,
            "token",
            "probe",
            bed.module,
            "--token",
            bed.token,
            "--pin",
            f"file:{pin}",
        ]
        done = subprocess.run(
            [*command, *variables, "--seconds", str(seconds), "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ProgramError(f"signerd token probe of {name}: {done.stderr.strip()}")
        document: dict[str, Any] = json.loads(done.stdout)
        return Report(
            [_row(name, each, bed.names) for each in document["tried"] if each["outcome"] == "holds"],
            document["sealed"],
        )


def _row(token: str, tried: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    key = names.get(tried["id"]) or tried["key"]
    return Row(token, key, f"CKM_{tried['mechanism']}", tried["per_second"], tried["median_ms"])
