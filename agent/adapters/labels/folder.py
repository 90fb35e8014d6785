"""Labels left in a folder, a file each: `<serial>_<port>.<format>`, readable by this user alone.

A file appears whole or not at all, also when power fails, and the same label again takes its place. A name is
made of letters, digits, dots and hyphens; every other character of a serial number or port stands in it as
`%XX`. So it never leaves the folder, and two labels never share a file (on Windows: unless they differ in
case alone).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from agent.adapters.durable_files import sync_directory, write_new
from agent.core.label import Label
from agent.errors import ConfigError, LabelError

_MAX_STEM = 160  # of 255 bytes that file systems take: room for the digest, the suffix and a temporary name
_TEMPORARY = ".unfinished-label-"
_ABANDONED_S = 3_600.0
_REMEDY = "See that the labels' folder exists, belongs to this user and has room."


def file_stem(label: Label) -> str:
    """The file's name without its suffix. A different serial number or port has a different one."""
    # The last underscore is the one between them: those of the port are written %5F.
    stem = f"{_plain(label.serial_number)}_{_plain(label.port).replace('_', '%5F')}"
    if len(stem) <= _MAX_STEM:
        return stem
    digest = hashlib.sha256(stem.encode("ascii")).hexdigest()[:32]
    return f"{stem[:_MAX_STEM]}~{digest}"


def _plain(text: str) -> str:
    # quote leaves letters, digits and "_.-~"; a leading dot would hide the file.
    quoted = quote(text, safe="", errors="surrogatepass").replace("~", "%7E")
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted


class LabelFolder:
    """One folder."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError where there is no such folder."""
        if not path.is_dir():
            raise ConfigError(f"the labels' folder {path} does not exist", remedy=f"mkdir -m 700 {path}")
        self._path = path
        _remove_unfinished(path)

    async def check(self) -> None:
        """Raises LabelError where no file could be left now."""
        try:
            await asyncio.to_thread(self._try)
        except OSError as error:
            raise _refused(error) from error

    def _try(self) -> None:
        with tempfile.TemporaryFile(dir=self._path, prefix=_TEMPORARY) as file:
            file.write(b"1")

    async def put(self, label: Label, files: Mapping[str, bytes]) -> None:
        """Leaves the label's files, by format. Raises LabelError."""
        stem = file_stem(label)
        try:
            await asyncio.to_thread(self._write_all, stem, files)
        except OSError as error:  # its text may name the file, and no more
            raise _refused(error) from error

    def _write_all(self, stem: str, files: Mapping[str, bytes]) -> None:
        for suffix, data in files.items():
            self._write(self._path / f"{stem}.{suffix}", data)
        sync_directory(self._path)

    def _write(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
        try:
            write_new(temporary, data)
            temporary.replace(path)
        except OSError:
            with suppress(OSError):  # the first error is the one to be told
                temporary.unlink()
            raise


def _refused(error: OSError) -> LabelError:
    detail = f"a label could not be left in its folder: {error.strerror or type(error).__name__}"
    return LabelError("label_folder", detail, remedy=_REMEDY)


def _remove_unfinished(path: Path) -> None:
    """What a power cut left. Another station on this PC may be writing now: only what nobody can be at."""
    for file in path.glob(f"{_TEMPORARY}*"):
        with suppress(OSError):  # another station may have removed it; a file that stays does no harm
            if time.time() - file.stat().st_mtime > _ABANDONED_S:
                file.unlink()
