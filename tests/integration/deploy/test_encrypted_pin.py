"""docs/operations.md, "The PIN, bound to this machine": its command as printed, with a TPM in software."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from harness.process import REPOSITORY, ProgramError, run
from harness.software_tpm import SoftwareTpm
from signerd.adapters.pin import read_pin

pytestmark = [
    pytest.mark.check,
    # Not in Ubuntu 22.04: systemd before 250 has none.
    pytest.mark.skipif(shutil.which("systemd-creds") is None, reason="systemd-creds: not on this machine"),
]
_TITLE = "### The PIN, bound to this machine"
_PAGE = (REPOSITORY / "docs" / "operations.md").read_text("utf-8").partition(f"\n{_TITLE}\n")[2]
_PIN = "123456"


@pytest.fixture(scope="module")
def tpm() -> Iterator[SoftwareTpm]:
    with SoftwareTpm() as tpm:
        yield tpm


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """With a host key of this test alone."""
    return {**os.environ, "SYSTEMD_CREDENTIAL_SECRET": str(tmp_path / "host.secret")}


def _device(tpm: SoftwareTpm) -> str:
    return f"--tpm2-device=swtpm:path={tpm.directory / 'socket'}"


@pytest.fixture
def encrypted(tpm: SoftwareTpm, environment: Mapping[str, str], tmp_path: Path) -> Path:
    """By the page's command, in this folder and with this TPM."""
    printed = re.findall(r"^    systemd-ask-password .* \| (systemd-creds encrypt .*)$", _PAGE, re.MULTILINE)
    command = str(printed[0])
    command = command.replace("/etc/signerd/", f"{tmp_path}/").replace("encrypt ", f"encrypt {_device(tpm)} ")
    run(["sh", "-euc", f"printf %s {_PIN} | {command}"], environment=environment)
    return tmp_path / "hsm.pin.cred"


def _decrypt(encrypted: Path, into: Path, tpm: SoftwareTpm, environment: Mapping[str, str]) -> None:
    """As systemd does for `LoadCredentialEncrypted=hsm-pin:…`."""
    files = (encrypted, into / "hsm-pin")
    run(["systemd-creds", "decrypt", _device(tpm), "--name=hsm-pin", *files], environment=environment)


def test_signerd_reads_the_pin_that_systemd_decrypted(
    encrypted: Path,
    tpm: SoftwareTpm,
    environment: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    _decrypt(encrypted, credentials, tpm, environment)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert read_pin("credential:hsm-pin", tmp_path) == _PIN.encode()


def test_the_file_is_worth_nothing_on_another_machine(
    encrypted: Path, tpm: SoftwareTpm, environment: Mapping[str, str], tmp_path: Path
) -> None:
    assert _PIN.encode() not in encrypted.read_bytes()
    with SoftwareTpm() as other, pytest.raises(ProgramError):
        _decrypt(encrypted, tmp_path, other, environment)
    (tmp_path / "host.secret").rename(tmp_path / "kept")  # the disk without the host's key
    with pytest.raises(ProgramError):
        _decrypt(encrypted, tmp_path, tpm, environment)


def test_the_unit_takes_that_file_and_none_in_clear() -> None:
    printed = re.findall(r"^    systemd-ask-password .* --name=(\S+) .* (/\S+)$", _PAGE, re.MULTILINE)
    unit = (REPOSITORY / "deploy" / "systemd" / "signerd.service").read_text("utf-8")
    assert re.findall(r"^LoadCredential.*$", unit, re.MULTILINE) == [
        f"LoadCredentialEncrypted={name}:{file}" for name, file in printed
    ]
