"""The PIN of an installation, sealed under its TPM: commands, a start, and a TPM that does not help.

What an attacker gets of it is in tests/hostile/test_sealed_pins.py.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.installation import Installation
from harness.process import COMMANDS, run
from harness.signerd_commands import change, signerd
from harness.software_tpm import SoftwareTpm
from signerd.adapters import tpm_sealing
from signerd.adapters.pin import read_pin
from signerd.adapters.sealed_pin_file import open_pin, read_file, seal_pin
from signerd.adapters.tpm_sealing import open_key, seal_key
from signerd.errors import ConfigError, NotNow
from tokens import presence, tpm2_token

pytestmark = pytest.mark.check
_PIN = bytearray(b"123456")
_DA_PARENT = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt"
_PARENT = f"{_DA_PARENT}|noda"


@pytest.fixture(autouse=True, scope="module")
def _library() -> None:
    presence.skip(presence.no_tpm2_pytss())


@pytest.fixture
def tpm() -> Iterator[SoftwareTpm]:
    with SoftwareTpm() as tpm:
        yield tpm


def at(tpm: SoftwareTpm) -> str:
    return f"swtpm:path={tpm.directory / 'socket'}"


def test_an_installation_serves_by_a_sealed_pin_alone(tpm: SoftwareTpm, tmp_path: Path) -> None:
    """By the commands of docs/operations.md, and the PIN stands nowhere on the disk in clear."""
    with Installation(tmp_path / "fresh") as installation:
        clear = installation.home / "hsm.pin"
        pin = clear.read_bytes().strip()
        path = installation.home / "hsm.pin.tpm"
        command = (COMMANDS / "signerd", "pin", "seal", path, "--tpm", at(tpm), "--pcr", "7")
        said = json.loads(run([*command, "--pin", f"file:{clear}", "--json"]))
        assert said == {"pin": f"tpm:{path}?tcti={at(tpm)}", "pcrs": [7], "parent_handle": "00000000"}
        clear.unlink()
        change(installation, '"file:hsm.pin"', f'"{said["pin"]}"')
        code, checked = signerd(installation, "check-config", "--login")
        assert (code, "opened by this machine's TPM while PCR 7 is as it was" in checked) == (0, True), (
            checked
        )
        installation.start_signerd().stop()
        assert not [
            each for each in installation.home.rglob("*") if each.is_file() and pin in each.read_bytes()
        ]
        tpm.tool("tpm2_pcrextend", f"7:sha256={1:064d}")
        for arguments in (["check-config"], ["run"]):
            code, refused = signerd(installation, *arguments)
            assert (code, "seal the PIN anew" in refused) == (3, True), refused


def test_a_key_holders_service_takes_the_sealed_pin_over(tpm: SoftwareTpm, tmp_path: Path) -> None:
    """The file moves with the token, and is opened where it lies then."""
    with Installation(tmp_path / "fresh") as installation:
        path = installation.home / "hsm.pin.tpm"
        pin = bytearray((installation.home / "hsm.pin").read_bytes().strip())
        seal_pin(path, pin, at(tpm), (), replace=False)
        change(installation, '"file:hsm.pin"', f'"tpm:hsm.pin.tpm?tcti={at(tpm)}"')
        settings = tmp_path / "key-holder" / "keyholder.toml"
        where = ("--to", settings, "--state", tmp_path / "notes", "--socket", tmp_path / "s")
        installation.admin("key-holder", "take-over", *where, "--client", "root")
        (source,) = re.findall(r'^pin = "(.*)"$', settings.read_text("utf-8"), re.MULTILINE)
        assert source == f"tpm:{settings.with_name('main.pin')}?tcti={at(tpm)}"
        assert (read_pin(source, Path("/")), path.exists()) == (pin, False)


def test_the_commands(tpm: SoftwareTpm, tmp_path: Path) -> None:
    path, command = tmp_path / "pin", [str(COMMANDS / "signerd"), "pin"]
    sealing = [*command, "seal", str(path), "--pin", "fd:0", "--tpm", at(tpm)]
    for more, code in ([], 0), ([], 1), (["--replace", "--pcr", "0,7"], 0):
        done = subprocess.run(
            [*sealing, *more], input=b"123456\n", capture_output=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stderr
        assert b"123456" not in done.stdout + done.stderr
    assert path.stat().st_mode & 0o777 == 0o400
    tried = json.loads(run([*command, "try", path, "--tpm", at(tpm), "--json"]))
    assert tried == {"file": str(path), "opens": True, "pcrs": [0, 7]}
    run([*command, "try", path, "--tpm", f"swtpm:path={tmp_path / 'none'}"], expect=75)
    run([*command, "try", path, "--tpm", "cmd:sh"], expect=2)
    run([*command, "try", tmp_path / "none", "--tpm", at(tpm)], expect=3)


def test_a_device_that_is_not_there_or_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, remedy in ("none", "give the container the device"), ("file", "cannot reach the TPM"):
        with pytest.raises(NotNow, match=remedy):
            seal_key(f"device:{tmp_path / name}", b"k" * 32)


def test_the_owners_storage_key_is_taken_where_there_is_one(tpm: SoftwareTpm) -> None:
    _storage_key(tpm, _PARENT)
    key = seal_key(at(tpm), b"k" * 32, (7,))
    assert key.parent_handle == 0x81000001
    assert open_key(at(tpm), key) == b"k" * 32


def test_a_key_in_its_place_that_stores_nothing(tpm: SoftwareTpm) -> None:
    context = tpm.file()
    tpm.tool(
        "tpm2_createprimary",
        "-C",
        "o",
        "-G",
        "ecc256:ecdsa-sha256",
        "-c",
        context,
        "-a",
        "sign|fixedtpm|userwithauth|fixedparent|sensitivedataorigin",
    )
    tpm.tool("tpm2_evictcontrol", "-C", "o", "-c", context, "0x81000001")
    tpm.forget()
    with pytest.raises(ConfigError, match="no storage key"):
        seal_key(at(tpm), b"k" * 32)


def test_an_owner_with_an_authorisation_value(tpm: SoftwareTpm) -> None:
    """The remedy that the error names is carried out as it says."""
    tpm.tool("tpm2_changeauth", "-c", "owner", "VALUE")
    with pytest.raises(ConfigError, match="tpm2_evictcontrol") as refused:
        seal_key(at(tpm), b"k" * 32)
    said = str(refused.value).partition("with these two: ")[2].partition(" (tpm:")[0]
    for command in said.split("; "):
        tpm.tool("sh", "-euc", command)
        tpm.forget()
    assert open_key(at(tpm), seal_key(at(tpm), b"k" * 32)) == b"k" * 32


def _storage_key(tpm: SoftwareTpm, attributes: str) -> None:
    context = tpm.file()
    tpm.tool("tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", context, "-a", attributes)
    tpm.tool("tpm2_evictcontrol", "-C", "o", "-c", context, "0x81000001")
    tpm.forget()


def _lock_out(tpm: SoftwareTpm) -> None:
    """Somebody gives a wrong authorisation, and one is too many."""
    parent, public, private, context = (tpm.file() for _ in range(4))
    tpm.tool("tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", parent)
    tpm.tool("tpm2_create", "-C", parent, "-G", "ecc256", "-p", "right", "-u", public, "-r", private)
    tpm.forget()
    tpm.tool("tpm2_load", "-C", parent, "-u", public, "-r", private, "-c", context)
    tpm.forget()
    tpm.tool("tpm2_dictionarylockout", "-s", "-n", "1", "-t", "1000", "-l", "1000")
    tpm.tool(
        "sh", "-c", f"! tpm2_sign -c {context} -g sha256 -p wrong -o {tpm.file()} {tpm.file(b'message')}"
    )
    tpm.forget()
    assert "inLockout:                 1" in tpm.tool("tpm2_getcap", "properties-variable")


def test_a_tpm_that_is_locked_out(tpm: SoftwareTpm) -> None:
    """What signerd seals has no part in it; a storage key that the owner made without noDA has."""
    key = seal_key(at(tpm), b"k" * 32, (7,))
    _storage_key(tpm, _DA_PARENT)
    under_it = seal_key(at(tpm), b"k" * 32)
    _lock_out(tpm)
    assert open_key(at(tpm), key) == b"k" * 32
    with pytest.raises(NotNow, match="--clear-lockout"):
        open_key(at(tpm), under_it)
    tpm.tool("tpm2_dictionarylockout", "--clear-lockout")
    assert open_key(at(tpm), under_it) == b"k" * 32


def test_a_tpm_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as control:
        for each, name in ((silent, "tpm"), (control, "tpm.ctrl")):
            each.bind(str(tmp_path / name))
            each.listen()
        with pytest.raises(NotNow, match="did not answer within 2 s"):
            seal_key(f"swtpm:path={tmp_path / 'tpm'}", b"k" * 32, deadline_s=2)


def test_a_library_that_crashes(tpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = (sys.executable, "-c", "import os; os.abort()")
    monkeypatch.setattr(tpm_sealing, "_PROGRAM", crash)
    with pytest.raises(ConfigError, match="failed"):
        seal_key(at(tpm), b"k" * 32)
    for nonsense in (b"", b"\x80", b"\x81dnone", b"\xff" * 100):
        monkeypatch.setattr(
            tpm_sealing,
            "_PROGRAM",
            (sys.executable, "-c", f"import sys; sys.stdout.buffer.write({nonsense!r})"),
        )
        with pytest.raises(ConfigError, match="no answer"):
            seal_key(at(tpm), b"k" * 32)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpm_sealing, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="tpm2-pytss is not installed"):
        seal_key("device:/dev/tpmrm0", b"k" * 32)


def test_several_at_once_through_a_resource_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """More sessions and keys than the TPM has room for."""
    presence.skip(tpm2_token.missing())
    with tpm2_token.Tpm2Token() as token:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", token.environment["DBUS_SESSION_BUS_ADDRESS"])
        tcti = token.environment["TPM2_PKCS11_TCTI"]
        key = seal_key(tcti, b"k" * 32, (7,))
        found: list[bytes] = []
        threads = [threading.Thread(target=lambda: found.append(open_key(tcti, key))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [b"k" * 32] * 4


def test_a_crash_while_the_file_is_replaced(
    tpm: SoftwareTpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old file stays, and opens."""
    path = tmp_path / "pin"
    seal_pin(path, _PIN, at(tpm), (), replace=False)
    before = read_file(path)

    def crashed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crashed)
    with pytest.raises(KeyboardInterrupt):
        seal_pin(path, _PIN, at(tpm), (7,), replace=True)
    assert read_file(path) == before
    assert open_pin(path, at(tpm)) == _PIN
