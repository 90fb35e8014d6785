"""opencryptoki's software token: its module and its slot daemon, in a place of their own.

    with OpencryptokiToken() as token:
        ...                                   # token.module, token.label, token.pin, token.environment

opencryptoki keeps settings, tokens, locks, socket and shared memory at places of the whole machine, and lets
in a group alone. `elsewhere/elsewhere.c`, preloaded, moves each of them under one folder. So nothing here
meets the machine's own opencryptoki, several run at once, and no user or group is needed. Module and daemon
are the distribution's, unchanged.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.process import Program, ProgramError, run, wait_until
from tokens import presence

_SOURCE = Path(__file__).parent / "elsewhere" / "elsewhere.c"
_SLOT = "3"  # as in Debian's settings
_SETTINGS = f"version opencryptoki-3.1\nslot {_SLOT}\n{{\nstdll = libpkcs11_sw.so\n}}\n"
_FOLDERS = (
    "etc/opencryptoki",
    "var/lib/opencryptoki/swtok/TOK_OBJ",
    "var/lock/opencryptoki/swtok",
    "var/log/opencryptoki",
    "var/run",
)
_FACTORY_SO_PIN, _FACTORY_PIN = "87654321", "12345678"


def missing() -> str | None:
    """Why there is no such token here; None if there is."""
    return presence.missing(
        "opencryptoki's software token",
        opencryptoki=presence.program("pkcsslotd"),
        libopencryptoki0=presence.library("opencryptoki/libopencryptoki.so.0"),
        gcc=presence.program("cc"),
    )


class OpencryptokiToken:
    """One token, new and empty."""

    label, pin, security_officer_pin = "birthmark", "123456", "76543210"

    def __init__(self, *, initialized: bool = True) -> None:
        """`initialized`: with its label and PINs; else as the package gives it."""
        self._initialized = initialized
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        reason = missing()
        if reason is not None:
            raise ProgramError(reason)
        with self._resources as resources:
            # Not pytest's folder: the name of a Unix socket has at most 107 bytes (unix(7)).
            self.directory = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="ock-")))
            resources.callback(self._forget)
            for folder in _FOLDERS:
                (self.directory / folder).mkdir(parents=True)
            (self.directory / "etc/opencryptoki/opencryptoki.conf").write_text(_SETTINGS)
            self._library = self.directory / "elsewhere.so"
            command = ["cc", "-std=c17", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
            run([*command, "-o", self._library, _SOURCE, "-ldl"])
            self.start()
            if self._initialized:
                self._initialize()
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    @property
    def module(self) -> str:
        """The PKCS#11 module."""
        return str(presence.library("opencryptoki/libopencryptoki.so.0"))

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to reach this token and no other."""
        return {"LD_PRELOAD": str(self._library), "ELSEWHERE": str(self.directory)}

    def stop(self) -> None:
        """The slot daemon ends: the token is gone for whoever loads the module."""
        self._daemon.stop()

    def start(self) -> None:
        """The slot daemon is there."""
        socket = self.directory / "var/run/pkcsslotd.socket"
        socket.unlink(missing_ok=True)  # of one that was killed
        environment = {**os.environ, **self.environment}
        daemon = Program(
            [str(presence.program("pkcsslotd")), "-f"],
            log=self.directory / "pkcsslotd",
            environment=environment,
        )
        self._resources.callback(daemon.stop)
        self._daemon = daemon
        wait_until(socket.exists, "the slot daemon", program=daemon)

    def _initialize(self) -> None:
        """As its owner does: a label, and PINs (of at most 8 characters) instead of the factory's."""
        environment = {**os.environ, **self.environment}
        for command in (
            f"echo {self.label} | pkcsconf -c {_SLOT} -I -S {_FACTORY_SO_PIN}",
            f"pkcsconf -c {_SLOT} -P -S {_FACTORY_SO_PIN} -n {self.security_officer_pin}",
            f"pkcsconf -c {_SLOT} -u -S {self.security_officer_pin} -n {self.pin}",
        ):
            run(["sh", "-euc", command], environment=environment)

    def _forget(self) -> None:
        """Its shared memory outlives everybody who used it."""
        for name in Path("/dev/shm").glob(f"*.{self.directory.name}"):
            with suppress(FileNotFoundError):
                name.unlink()
