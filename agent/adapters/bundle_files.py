"""The station's bundle: verified on each start, its images laid out as files that only this user can write.

`<state>/bundles/<digest>/<name>.bin`, folders 0700 and files 0600. A folder that is there already is compared
with the bundle, byte for byte; one that differs is replaced. Folders appear whole or not at all. On Windows
modes say nothing: docs/stations.md gives the command that restricts the directory to the station's account.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from agent.adapters.durable_files import sync_directory, write_new
from agent.config import BundleFiles
from agent.core.bundle import MAX_BUNDLE_BYTES, BundleError
from agent.core.bundle_verify import verify_bundle
from agent.errors import ConfigError
from agent.ports import Firmware

FOLDER = "bundles"
_NEW, _OLD = ".new-", ".old-"
_MAX_KEY_BYTES = 65_536
# Another station process may work from the same state directory, also with another bundle. A folder is
# removed when no start has used it for so long.
_KEEP_S = 7 * 24 * 3600.0
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has none
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # Windows has none
_BINARY = getattr(os, "O_BINARY", 0)  # POSIX has none


def open_firmware(files: BundleFiles, state: Path) -> Firmware:
    """Verifies the configured bundle and lays its images out below the state directory.

    Raises:
        ConfigError: it cannot be read, is not signed with the configured key or not fit to be flashed, or the
            state directory cannot be written.
    """
    key = read_public_key(files.key)
    data = read_bounded(files.path, MAX_BUNDLE_BYTES)
    try:
        bundle, images = verify_bundle(data, key)
    except BundleError as error:
        raise ConfigError(
            f"the bundle {files.path}: {error}",
            remedy="Have the company send the bundle again; birthmark-agent bundle verify checks it.",
        ) from error
    root = state / FOLDER
    folder = root / bundle.digest.hex()
    contents = {f"{name}.bin": content for name, content in images.items()}
    try:
        _make_root(root)
        if not _holds(folder, contents):
            _lay_out(folder, contents)
        os.utime(folder)
        _remove_old(root, folder, time.time() - _KEEP_S)
    except OSError as error:
        raise ConfigError(
            f"cannot lay out the bundle below {root}: {error.strerror}",
            remedy="See that the state directory exists, belongs to this user and has room.",
        ) from error
    return Firmware(bundle, {name: folder / f"{name}.bin" for name in images})


_READABLE = "See that the path is right, and that this user may read the file."


def read_bounded(path: Path, most: int) -> bytes:
    """A file of at most so many bytes, and no more of it is ever read. Raises ConfigError."""
    try:
        # Not waiting for who writes into a pipe.
        with os.fdopen(os.open(path, os.O_RDONLY | _NONBLOCK | _BINARY), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path} is not a file", remedy=_READABLE)
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", remedy=_READABLE) from error
    if len(data) > most:
        raise ConfigError(f"{path} is larger than {most} bytes", remedy=_READABLE)
    return data


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The company's bundle key, PEM. Raises ConfigError."""
    try:
        key = load_pem_public_key(read_bounded(path, _MAX_KEY_BYTES))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is not a public key in PEM", remedy=_PUBLIC) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} is not an Ed25519 key", remedy=_PUBLIC)
    return key


_PUBLIC = "The company makes it: openssl pkey -in bundle-key.pem -pubout -out bundle-key.pub.pem"


def _make_root(root: Path) -> None:
    root.mkdir(mode=0o700, exist_ok=True)
    if sys.platform != "win32":
        root.chmod(0o700)  # whatever it was before; fails where it belongs to another user


def _holds(folder: Path, contents: Mapping[str, bytes]) -> bool:
    """True if the folder holds these files and no others, all of them this user's alone."""
    try:
        if not _is_ours(folder.lstat(), stat.S_ISDIR):
            return False
        if sorted(entry.name for entry in folder.iterdir()) != sorted(contents):
            return False
        return all(_file_holds(folder / name, content) for name, content in contents.items())
    except OSError:  # not there, or unreadable: it is laid out anew, and that fails with a reason if it must
        return False


def _file_holds(path: Path, content: bytes) -> bool:
    with os.fdopen(os.open(path, os.O_RDONLY | _NOFOLLOW | _BINARY), "rb") as file:
        found = os.fstat(file.fileno())
        if not _is_ours(found, stat.S_ISREG) or found.st_nlink != 1:
            return False
        return file.read(len(content) + 1) == content


def _is_ours(found: os.stat_result, is_kind: Callable[[int], bool]) -> bool:
    if not is_kind(found.st_mode):
        return False
    return sys.platform == "win32" or (found.st_uid == os.geteuid() and not found.st_mode & 0o077)


def _lay_out(folder: Path, contents: Mapping[str, bytes]) -> None:
    new = Path(tempfile.mkdtemp(prefix=_NEW, dir=folder.parent))  # 0700
    try:
        for name, content in contents.items():
            write_new(new / name, content)
        sync_directory(new)
        # A crash up to here leaves a .new- folder that nothing reads; a later start removes it.
        if folder.is_symlink() or folder.exists():
            # Not what the bundle says: altered, damaged, or open to others. It is never looked at again.
            folder.rename(Path(tempfile.mkdtemp(prefix=_OLD, dir=folder.parent)) / folder.name)
            # A crash here leaves no folder; the next start lays it out anew.
        _rename(new, folder, contents)
        sync_directory(folder.parent)
        # A crash before the last sync may lose the folder's name; the next start lays it out anew.
    finally:
        shutil.rmtree(new, ignore_errors=True)  # is there only where something failed


def _rename(new: Path, folder: Path, contents: Mapping[str, bytes]) -> None:
    try:
        new.rename(folder)
    except OSError:
        # Another process of this station was faster. What it laid out has to be the same.
        if not _holds(folder, contents):
            raise


def _remove_old(root: Path, current: Path, before_s: float) -> None:
    for entry in root.iterdir():
        # What cannot be removed takes room and does no harm: nothing reads it.
        if entry != current and not entry.is_symlink() and entry.lstat().st_mtime < before_s:
            shutil.rmtree(entry, ignore_errors=True)
