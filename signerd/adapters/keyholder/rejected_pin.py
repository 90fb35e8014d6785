"""PINs that a token rejected, on disk: none of them is tried a second time, also by the next start.

The file beside the second place of the checkpoint holds a slow hash of each, bound to module and token, and
never the PIN. Whoever copies it can guess a short PIN offline in hours: one that the token rejected. A PIN
that is right is never written here in any form.

Where there is no installation yet (`signerd init`, `signerd token probe`), whoever gives the command has a
file of their own: `~/.local/state/birthmark/rejected-pins`, or below XDG_STATE_HOME.

A token has more names than one. What it rejects is noted under the name that the settings have, its label and
its serial number, so that the next command may call it otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from signerd.adapters import durable_files
from signerd.core.token_choice import token_choice

_COST = 2**15  # of scrypt (RFC 7914), with 32 MiB: some 0.1 s a look
_MEMORY = 64 * 1024 * 1024  # bytes that scrypt may take
_MOST = 24  # notes, of a PIN up to three; the oldest goes first
_SALT_BYTES = 16
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


class NoteDamagedError(Exception):
    """The file cannot be read, or is none of ours: whether a PIN was rejected is not known."""


class RejectedPins:
    """The note for one token."""

    def __init__(self, file: Path, *, module: str, token: str) -> None:
        """`module` and `token` as the settings name them: another token's PINs are its own."""
        self.file = file
        self._module, self._token = module, token

    @classmethod
    def of_user(cls, *, module: str, token: str) -> RejectedPins:
        """Where there is no installation: of whoever gives the command."""
        return cls(_state_folder() / "rejected-pins", module=module, token=token)

    def since(self, pin: bytes) -> str | None:
        """When the token rejected this PIN; None if it did not. Raises NoteDamagedError."""
        named = token_choice(self._token).name
        names = dict.fromkeys((self._token, _text(named.serial) or named.label or self._token))
        noted = self._load()
        for salt in dict.fromkeys(each["salt"] for each in noted):
            for hashed in (self._hash(pin, name, salt) for name in names):
                for each in noted:
                    if each["salt"] == salt and hmac.compare_digest(hashed, each["scrypt"]):
                        return each["at"]
        return None

    def add(self, pin: bytes, also: Sequence[str] = ()) -> None:
        """Notes a PIN that the token has just rejected; `also`: under these names of the token too.

        A crash before the file is replaced: the next start tries this PIN once more, and the token counts it.
        A token with one try left is left alone even then (`token.demand_tries`).

        Raises:
            OSError: it cannot be written.
            NoteDamagedError: what stands there is none of ours.
        """
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        noted = self._load()
        # One salt for all, or each look would take as many times as long as there are notes.
        salt = noted[-1]["salt"] if noted else secrets.token_hex(_SALT_BYTES)
        names = (name for name in dict.fromkeys((self._token, *also)) if name)
        noted += [{"salt": salt, "scrypt": self._hash(pin, name, salt), "at": now} for name in names]
        kept = {"v": 1, "rejected": noted[-_MOST:]}
        if self.file.parent == _state_folder():  # a second place that is not mounted is not made
            self.file.parent.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        folder = self.file.parent.stat()  # of whoever starts with this PIN, also where root gave the command
        owner = (folder.st_uid, folder.st_gid) if os.geteuid() == 0 else None
        durable_files.replace(self.file, json.dumps(kept, indent=1).encode("ascii"), _FILE_MODE, owner)

    def _hash(self, pin: bytes, name: str, salt: str) -> str:
        salted = bytes.fromhex(salt) + f"{self._module}\0{name}".encode()
        made = hashlib.scrypt(pin, salt=salted, n=_COST, r=8, p=1, maxmem=_MEMORY, dklen=32)
        return made.hex()

    def _load(self) -> list[dict[str, str]]:
        try:
            kept = json.loads(self.file.read_text(encoding="ascii"))
            form = {1: ("salt", "scrypt", "at")}[kept["v"]]
            noted = [{name: str(each[name]) for name in form} for each in kept["rejected"]]
            for each in noted:
                for name in ("salt", "scrypt"):
                    bytes.fromhex(each[name])
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NoteDamagedError(f"{self.file} cannot be read: {type(error).__name__}") from error
        return noted


def _text(serial: bytes | None) -> str:
    return "" if serial is None else serial.decode("latin-1")


def _state_folder() -> Path:
    """XDG Base Directory Specification 0.8: a path that is not absolute counts as none."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    home = given if given.is_absolute() else Path("~/.local/state").expanduser()
    return home / "birthmark"
