"""A PIN that is sealed under a TPM: what a thief, a listener on the bus and a changed machine get of it.

Each test begins with the honest twin: the same file, opened by the same TPM.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harness.software_tpm import SoftwareTpm
from signerd.adapters.sealed_pin_file import open_pin, read_file, seal_pin
from signerd.adapters.tpm_sealing import open_key, seal_key
from signerd.errors import ConfigError
from tokens import presence

pytestmark = pytest.mark.check
_PIN = b"123456"
_PARENT = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"


@pytest.fixture(autouse=True, scope="module")
def _library() -> None:
    presence.skip(presence.no_tpm2_pytss())


@pytest.fixture
def tpm() -> Iterator[SoftwareTpm]:
    with SoftwareTpm() as tpm:
        yield tpm


def at(tpm: SoftwareTpm) -> str:
    return f"swtpm:path={tpm.directory / 'socket'}"


def sealed(tpm: SoftwareTpm, folder: Path, pcrs: tuple[int, ...] = ()) -> Path:
    path = folder / "hsm.pin.tpm"
    seal_pin(path, bytearray(_PIN), at(tpm), pcrs, replace=False)
    assert open_pin(path, at(tpm)) == _PIN
    assert _PIN not in path.read_bytes()
    return path


def storage_key(tpm: SoftwareTpm, attributes: str = _PARENT) -> None:
    """The TPM's owner makes the persistent storage key."""
    context = tpm.file()
    tpm.tool("tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", context, "-a", attributes)
    tpm.tool("tpm2_evictcontrol", "-C", "o", "-c", context, "0x81000001")
    tpm.forget()


def test_a_copied_disk_in_another_machine(tpm: SoftwareTpm, tmp_path: Path) -> None:
    path = sealed(tpm, tmp_path)
    with SoftwareTpm() as other:
        with pytest.raises(ConfigError, match="not the TPM that sealed"):
            open_pin(path, at(other))
        # Nor where the file is made to say that it is this one's.
        foreign = read_file(path)
        own = seal_key(at(other), secrets.token_bytes(32))
        lied = replace(foreign.key, parent_name=own.parent_name)
        with pytest.raises(ConfigError, match="altered, or another TPM"):
            open_key(at(other), lied)


def test_a_copied_disk_in_a_machine_with_a_storage_key_of_its_own(tpm: SoftwareTpm, tmp_path: Path) -> None:
    storage_key(tpm)
    path = sealed(tpm, tmp_path)
    assert read_file(path).key.parent_handle == 0x81000001
    with SoftwareTpm() as other:
        with pytest.raises(ConfigError, match="not the TPM that sealed"):
            open_pin(path, at(other))
        storage_key(other)
        with pytest.raises(ConfigError, match="not the TPM that sealed"):
            open_pin(path, at(other))


def test_a_tpm_that_was_cleared(tpm: SoftwareTpm, tmp_path: Path) -> None:
    path = sealed(tpm, tmp_path)
    tpm.tool("tpm2_clear", "-c", "p")
    with pytest.raises(ConfigError, match="cleared since"):
        open_pin(path, at(tpm))


def test_a_machine_that_started_something_else(tpm: SoftwareTpm, tmp_path: Path) -> None:
    path = sealed(tpm, tmp_path, (0, 7))
    tpm.tool("tpm2_pcrextend", f"8:sha256={1:064d}")  # of no concern
    assert open_pin(path, at(tpm)) == _PIN
    tpm.tool("tpm2_pcrextend", f"7:sha256={1:064d}")
    with pytest.raises(ConfigError, match=r"PCRs .* seal the PIN anew"):
        open_pin(path, at(tpm))
    # The list of PCRs is the TPM's own, not the file's.
    lied = replace(read_file(path).key, pcrs=())
    with pytest.raises(ConfigError):
        open_key(at(tpm), lied)


def test_what_the_tpm_gave_is_altered(tpm: SoftwareTpm, tmp_path: Path) -> None:
    key = read_file(sealed(tpm, tmp_path)).key
    for area in key.public, key.private:
        for other in area[:-1], area + b"\0", bytes([*area[:-1], area[-1] ^ 1]), b"\xff" * 2_048:
            changed = replace(key, public=other) if area is key.public else replace(key, private=other)
            with pytest.raises(ConfigError, match="altered"):
                open_key(at(tpm), changed)


@contextmanager
def bus(tpm: SoftwareTpm, heard: list[bytes]) -> Iterator[str]:
    """A transport that keeps what goes over it, both ways; for one connection after the other."""
    path = tpm.directory / "bus"
    path.with_name("bus.ctrl").symlink_to(tpm.directory / "socket.ctrl")  # by which localities are set
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, str(tpm.directory / "socket"), heard))
        thread.start()
        try:
            yield f"swtpm:path={path}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(listener: socket.socket, tpm: str, heard: list[bytes]) -> None:
    while True:
        try:
            asking, _ = listener.accept()
        except OSError:  # the test has ended
            return
        with asking, socket.socket(socket.AF_UNIX) as answering:
            answering.connect(tpm)
            while command := asking.recv(65_536):
                answering.sendall(command)
                answer = answering.recv(65_536)
                asking.sendall(answer)
                heard += [command, answer]


def test_a_listener_between_processor_and_tpm(tpm: SoftwareTpm) -> None:
    secret, heard = secrets.token_bytes(32), list[bytes]()
    with bus(tpm, heard) as tcti:
        key = seal_key(tcti, secret)
        sealing = b"".join(heard)
        assert open_key(tcti, key) == secret
    said = b"".join(heard)
    assert key.public in sealing  # it does hear what is said
    assert key.public in said.removeprefix(sealing)
    assert secret not in said


def test_the_listener_hears_who_does_not_encrypt(tpm: SoftwareTpm) -> None:
    """The twin of the test above: the same bus, and the tools' own sealing without a session."""
    secret, heard = secrets.token_bytes(32), list[bytes]()
    parent = tpm.file()
    tpm.tool("tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", parent)
    tpm.forget()
    with bus(tpm, heard) as tcti:
        files = ("-u", tpm.file(), "-r", tpm.file(), "-i", tpm.file(secret))
        tpm.tool("tpm2_create", "-T", tcti, "-C", parent, *files)
    assert secret in b"".join(heard)


def test_nothing_stays_in_the_tpm(tpm: SoftwareTpm, tmp_path: Path) -> None:
    sealed(tpm, tmp_path, (7,))
    for kind in (
        "handles-transient",
        "handles-loaded-session",
        "handles-saved-session",
        "handles-persistent",
    ):
        assert tpm.tool("tpm2_getcap", kind).strip() == ""


def test_a_file_that_others_could_have_put_there(tpm: SoftwareTpm, tmp_path: Path) -> None:
    path = sealed(tpm, tmp_path)
    for mode in (0o420, 0o402):
        path.chmod(mode)
        with pytest.raises(ConfigError, match="others can write"):
            open_pin(path, at(tpm))
    path.chmod(0o400)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ConfigError, match="cannot read the sealed PIN"):
        open_pin(tmp_path / "link", at(tpm))
    shutil.move(path, tmp_path / "away")
    path.mkdir()
    with pytest.raises(ConfigError, match="regular file"):
        open_pin(path, at(tpm))
