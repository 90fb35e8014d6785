"""The station's copy of a bundle: whole, its own, and made again when anything is wrong with it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.adapters.bundle_files import open_firmware
from agent.adapters.durable_files import sync_directory, write_new
from agent.config import BundleFiles
from agent.errors import ConfigError
from harness.bundle_samples import Sample, sample

DAY_S = 24 * 3600


@pytest.fixture(scope="module")
def product() -> Sample:
    return sample()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def files(tmp_path: Path, product: Sample) -> BundleFiles:
    return write(tmp_path, product)


def write(folder: Path, product: Sample) -> BundleFiles:
    path, key = folder / "bundle.zip", folder / "bundle.pub.pem"
    path.write_bytes(product.signed())
    key.write_bytes(product.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return BundleFiles(path=path, key=key)


def folders(state: Path) -> list[Path]:
    return sorted((state / "bundles").iterdir())


def test_images_are_laid_out_for_this_user_alone(files: BundleFiles, state: Path, product: Sample) -> None:
    firmware = open_firmware(files, state)
    assert {name: path.read_bytes() for name, path in firmware.images.items()} == product.files
    (folder,) = folders(state)
    assert folder.name == firmware.bundle.digest.hex()
    for path in (folder.parent, folder):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in firmware.images.values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_second_start_finds_them_there(files: BundleFiles, state: Path) -> None:
    first = open_firmware(files, state)
    inodes = {path: path.stat().st_ino for path in first.images.values()}
    assert open_firmware(files, state) == first
    assert {path: path.stat().st_ino for path in first.images.values()} == inodes


def altered(folder: Path) -> None:
    path = folder / "application.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")


def longer(folder: Path) -> None:
    with (folder / "application.bin").open("ab") as file:
        file.write(b"\x00")


def a_link(folder: Path) -> None:
    target = folder.parent.parent / "elsewhere.bin"
    (folder / "application.bin").rename(target)
    (folder / "application.bin").symlink_to(target)


def a_hard_link(folder: Path) -> None:
    """The same content now, and whoever has the other name may change it later."""
    os.link(folder / "application.bin", folder.parent.parent / "elsewhere.bin")


def a_folder_that_is_a_link(folder: Path) -> None:
    target = folder.parent.parent / "elsewhere"
    folder.rename(target)
    folder.symlink_to(target)


CHANGES: dict[str, Callable[[Path], object]] = {
    "altered": altered,
    "longer": longer,
    "empty": lambda folder: (folder / "application.bin").write_bytes(b""),
    "missing": lambda folder: (folder / "application.bin").unlink(),
    "one-more": lambda folder: (folder / "more.bin").write_bytes(b""),
    "writable-for-others": lambda folder: (folder / "application.bin").chmod(0o666),
    "folder-writable-for-others": lambda folder: folder.chmod(0o777),
    "a-link": a_link,
    "a-hard-link": a_hard_link,
    "a-folder-that-is-a-link": a_folder_that_is_a_link,
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_as_it_was_is_laid_out_anew(
    files: BundleFiles, state: Path, product: Sample, change: str
) -> None:
    folder = next(iter(open_firmware(files, state).images.values())).parent
    inode = folder.stat().st_ino
    CHANGES[change](folder)
    firmware = open_firmware(files, state)
    assert folder.lstat().st_ino != inode
    assert stat.S_ISDIR(folder.lstat().st_mode)
    assert {name: path.read_bytes() for name, path in firmware.images.items()} == product.files
    for path in firmware.images.values():
        found = path.lstat()
        assert (stat.S_IMODE(found.st_mode), found.st_nlink) == (0o600, 1)
        assert stat.S_ISREG(found.st_mode)


class Crash(BaseException):
    """Power is gone: nothing that would clean up runs."""


POINTS = ("write_new", "sync_directory", "rename", "sync-parent", "utime")


@pytest.mark.parametrize(
    ("point", "there"),
    [
        *(pytest.param(point, False, id=f"first-start-{point}") for point in POINTS),
        *(pytest.param(point, True, id=f"altered-{point}") for point in (*POINTS, "rename-away")),
    ],
)
def test_a_crash_leaves_whole_folders_or_none(
    files: BundleFiles,
    state: Path,
    product: Sample,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    there: bool,
) -> None:
    if there:
        altered(next(iter(open_firmware(files, state).images.values())).parent)
    with monkeypatch.context() as patch:
        _crash_at(point, patch)
        with pytest.raises(Crash):
            open_firmware(files, state)
    firmware = open_firmware(files, state)
    assert {name: path.read_bytes() for name, path in firmware.images.items()} == product.files
    _age(state, 8 * DAY_S)
    open_firmware(files, state)
    assert [folder.name for folder in folders(state)] == [firmware.bundle.digest.hex()]


def _crash_at(point: str, patch: pytest.MonkeyPatch) -> None:
    """Power fails when that call begins; before `rename` and `utime` all else was done."""

    def crash(*_arguments: object, **_named: object) -> NoReturn:
        raise Crash

    def when(condition: Callable[[Path], bool], original: Callable[..., object]) -> Callable[..., object]:
        def call(path: Path, *arguments: object) -> object:
            return crash() if condition(path) else original(path, *arguments)

        return call

    patch.setattr(shutil, "rmtree", lambda *_arguments, **_named: None)
    module = "agent.adapters.bundle_files"
    if point == "write_new":
        patch.setattr(f"{module}.write_new", when(lambda path: path.name == "data.bin", write_new))
    elif point == "sync_directory":
        patch.setattr(f"{module}.sync_directory", crash)
    elif point == "sync-parent":
        patch.setattr(f"{module}.sync_directory", when(lambda path: path.name == "bundles", sync_directory))
    elif point == "utime":
        patch.setattr(os, "utime", crash)
    else:
        renamed = Path.rename
        is_new = point == "rename"
        patch.setattr(Path, "rename", when(lambda path: path.name.startswith(".new-") is is_new, renamed))


def _age(state: Path, seconds: float) -> None:
    for folder in folders(state):
        found = folder.stat()
        os.utime(folder, (found.st_atime - seconds, found.st_mtime - seconds))


def test_bundles_of_old_are_removed_when_nobody_used_them_for_long(
    tmp_path: Path, files: BundleFiles, state: Path, product: Sample
) -> None:
    old = open_firmware(files, state)
    newer = Sample(sample(version="1.5.0").manifest, sample(version="1.5.0").files, product.key)
    new = open_firmware(write(tmp_path, newer), state)
    assert len(folders(state)) == 2
    _age(state, 8 * DAY_S)
    assert open_firmware(write(tmp_path, newer), state) == new
    assert [folder.name for folder in folders(state)] == [new.bundle.digest.hex()]
    assert old.bundle.digest != new.bundle.digest


def test_another_process_that_was_faster_is_believed_after_a_look(
    files: BundleFiles, state: Path, product: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found nothing there; the other one's folder appears just before ours is renamed."""
    renamed = Path.rename

    def late(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", renamed)
        open_firmware(files, state)
        return renamed(path, target)

    monkeypatch.setattr(Path, "rename", late)
    firmware = open_firmware(files, state)
    assert {name: path.read_bytes() for name, path in firmware.images.items()} == product.files
    assert [folder.name for folder in folders(state)] == [firmware.bundle.digest.hex()]


def test_an_altered_bundle_lays_out_nothing(files: BundleFiles, state: Path) -> None:
    data = bytearray(files.path.read_bytes())
    data[len(data) // 2] ^= 1
    files.path.write_bytes(data)
    with pytest.raises(ConfigError, match="damaged") as refused:
        open_firmware(files, state)
    assert str(files.path) in refused.value.detail
    assert refused.value.remedy
    assert not (state / "bundles").exists()


def test_wrong_files_are_named(tmp_path: Path, files: BundleFiles, state: Path) -> None:
    def refused(changed: BundleFiles, text: str) -> None:
        with pytest.raises(ConfigError, match=text):
            open_firmware(changed, state)

    gone, huge, ec_key, folder = (tmp_path / name for name in ("gone", "huge", "ec.pem", "folder"))
    folder.mkdir()
    with huge.open("wb") as file:
        file.truncate(65 << 20)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    ec_key.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    refused(files.model_copy(update={"path": gone}), "cannot read .*gone")
    refused(files.model_copy(update={"path": folder}), "cannot read .*folder")
    refused(files.model_copy(update={"path": huge}), "huge is larger than")
    refused(files.model_copy(update={"path": Path("/dev/zero")}), "not a file")
    os.mkfifo(tmp_path / "pipe")  # nobody writes into it
    refused(files.model_copy(update={"path": tmp_path / "pipe"}), "not a file")
    refused(files.model_copy(update={"key": gone}), "cannot read .*gone")
    refused(files.model_copy(update={"key": files.path}), "larger|not a public key")
    refused(files.model_copy(update={"key": ec_key}), "not an Ed25519 key")


def test_a_state_directory_that_is_not_there_is_named(files: BundleFiles, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot lay out the bundle below .*nowhere") as refused:
        open_firmware(files, tmp_path / "nowhere")
    assert "state directory" in refused.value.remedy
