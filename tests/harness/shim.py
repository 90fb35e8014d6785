"""A token that is slow, broken or gone when a test says so: `tests/tokens/shim` before the real module.

shim = Shim.build(tmp_path / "shim", before="/usr/lib/softhsm/libsofthsm2.so")
async with running(shim.before(token.settings), token.pin) as holder:
    shim.rule("C_Sign", "delay", 1500)        # milliseconds, from now on
    shim.rule("C_Login", "fail", CKR_PIN_INCORRECT, times=1)
assert len(shim.calls("C_Login")) == 1
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.installation import Installation
from signerd.adapters.keyholder.client import KeyHolderSettings

_SOURCE = Path(__file__).parents[1] / "tokens" / "shim" / "shim.c"

# PKCS #11 2.40, the values of CK_RV that tests give.
CKR_GENERAL_ERROR = 0x05
CKR_FUNCTION_FAILED = 0x06
CKR_DEVICE_ERROR = 0x30
CKR_PIN_INCORRECT = 0xA0
CKR_SESSION_HANDLE_INVALID = 0xB3
CKR_USER_NOT_LOGGED_IN = 0x101
# … and of a token's flags.
CKF_USER_PIN_FINAL_TRY = 0x20000
CKF_USER_PIN_LOCKED = 0x40000

Action = Literal["delay", "hang", "fail", "late", "drop", "crash", "garble", "flags"]


@dataclass(frozen=True, slots=True)
class Call:
    """A call that began; `end_s` and `rv` are None while it has not ended. By `time.monotonic`."""

    pid: int
    begin_s: float
    end_s: float | None
    rv: int | None


class Shim:
    """The module, and the folder of its rules."""

    def __init__(self, module: Path, directory: Path, target: Path) -> None:
        self.module = module
        self._directory = directory
        self._target = target

    @classmethod
    def build(cls, directory: Path, *, before: Path) -> Shim:
        """Compiles it into `directory`, which is made."""
        directory.mkdir(parents=True)
        module = directory / "shim.so"
        compiler = shutil.which("cc") or "gcc"
        command: list[str | Path] = [
            compiler,
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-shared",
            "-fPIC",
            "-o",
            module,
            _SOURCE,
            "-ldl",
        ]
        subprocess.run(command, check=True)
        return cls(module, directory, before)

    @property
    def environment(self) -> Mapping[str, str]:
        """What the module is told."""
        return {"SHIM_TARGET": str(self._target), "SHIM_DIR": str(self._directory)}

    def before(self, settings: KeyHolderSettings) -> KeyHolderSettings:
        """The settings of a key holder, with the shim before its module."""
        return replace(
            settings,
            setup=replace(settings.setup, module=str(self.module)),
            environment={**settings.environment, **self.environment},
        )

    def before_token_of(self, installation: Installation) -> None:
        """The same in an installation's file, before signerd starts."""
        text = installation.config.read_text(encoding="utf-8")
        module = f"module = {json.dumps(str(self._target))}\n"
        head = "[hsm.environment]\n"
        assert module in text
        assert head in text
        lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in self.environment.items())
        text = text.replace(module, f"module = {json.dumps(str(self.module))}\n").replace(head, head + lines)
        installation.config.write_text(text, encoding="utf-8")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._directory / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def rule(self, function: str, action: Action, value: int = 0, *, times: int | None = None) -> None:
        """From now on, for so many calls (None: for all), in every process."""
        with self._locked():
            rule = self._directory / f"{function}.{action}"
            rule.write_text(f"{value:#x} {-1 if times is None else times}\n", encoding="ascii")

    def clear(self, function: str, action: Action) -> None:
        """Takes a rule away. A call that hangs goes on hanging."""
        with self._locked():
            (self._directory / f"{function}.{action}").unlink()

    def pull(self) -> None:
        """The device is gone."""
        (self._directory / "gone").touch()

    def put_back(self) -> None:
        """It is there again; a session of before is not."""
        (self._directory / "gone").unlink()

    def calls(self, function: str) -> list[Call]:
        """The calls of this function so far, in the order of their begin."""
        file = self._directory / "calls"
        open_calls: dict[int, int] = {}  # by process: it makes one call at a time
        found: list[Call] = []
        written = file.read_text(encoding="ascii") if file.exists() else ""
        for line in written.rpartition("\n")[0].splitlines():  # the last one may be half written
            kind, moment, pid_text, name, *result = line.split()
            if name != function:
                continue
            pid = int(pid_text)
            if kind == ">":
                open_calls[pid] = len(found)
                found.append(Call(pid, float(moment), None, None))
            else:
                at = open_calls.pop(pid)
                found[at] = replace(found[at], end_s=float(moment), rv=int(result[0], 16))
        return found
