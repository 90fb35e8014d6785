"""A token in a TPM 2.0: tpm2-pkcs11 on swtpm, behind a resource manager of its own.

    with Tpm2Token() as token:
        token.add_key("ca", "ecc256")
        ...                                   # token.module, token.label, token.pin, token.environment

tpm2-pkcs11 loads more objects than a TPM has room for, so tpm2-abrmd stands between, on a D-Bus of its own:
nothing here meets the machine's TPM, bus or daemon.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.process import Program, ProgramError, run, wait_until
from harness.software_tpm import SoftwareTpm
from tokens import presence

_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>
"""
_NAME = "com.intel.tss2.Tabrmd"
_PRIMARY = "1"  # the first primary object of a store
_TIMEOUT_S = 60


def missing() -> str | None:
    """Why there is no TPM token here; None if there is."""
    return presence.missing(
        "tpm2-pkcs11 on swtpm",
        swtpm=presence.program("swtpm"),
        dbus=presence.program("dbus-daemon"),
        tpm2_abrmd=presence.program("tpm2-abrmd"),
        libtss2_tcti_tabrmd0=presence.library("libtss2-tcti-tabrmd.so*"),
        libtpm2_pkcs11_1=presence.library("libtpm2_pkcs11.so*"),
        libtpm2_pkcs11_tools=presence.program("tpm2_ptool"),
    )


class Tpm2Token:
    """One TPM, new and empty, with one token in it."""

    label, pin, security_officer_pin = "tpm", "123456", "sosopin"

    def __init__(self) -> None:
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        reason = missing()
        if reason is not None:
            raise ProgramError(reason)
        with self._resources as resources:
            self.directory = resources.enter_context(SoftwareTpm()).directory
            self._store = self.directory / "store"
            self._store.mkdir()
            bus = self._start_bus(resources)
            self._manager = self._start_manager(resources, bus)
            self.tool("init")
            pins = ("--sopin", self.security_officer_pin, "--userpin", self.pin)
            self.tool("addtoken", "--pid", _PRIMARY, "--label", self.label, *pins)
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    @property
    def module(self) -> str:
        """The PKCS#11 module."""
        return str(presence.library("libtpm2_pkcs11.so*"))

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to reach this token and no other."""
        tcti = "tabrmd:bus_type=session"
        names = {"TPM2_PKCS11_STORE": str(self._store), "TPM2_PKCS11_TCTI": tcti, "TPM2TOOLS_TCTI": tcti}
        return {**names, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.directory / 'bus'}"}

    def add_key(self, label: str, algorithm: str) -> None:
        """Makes a key: `ecc256`, `ecc384`, `rsa2048`, `hmac:sha256` and what else tpm2_ptool knows."""
        names = ("--label", self.label, "--key-label", label)
        self.tool("addkey", "--algorithm", algorithm, *names, "--userpin", self.pin)

    def tool(self, *arguments: str | Path) -> str:
        """Runs tpm2_ptool; what it printed.

        Raises:
            ProgramError: it, or the TPM, refuses.
        """
        command = ["tpm2_ptool", *arguments, "--path", self._store]
        return run(command, environment={**os.environ, **self.environment}, timeout_s=_TIMEOUT_S)

    def stop(self) -> None:
        """The resource manager ends: the token is gone for whoever uses it."""
        self._manager.stop()

    def start(self) -> None:
        """The resource manager is there again."""
        self._manager = self._start_manager(self._resources, self._bus)

    def _start_bus(self, resources: ExitStack) -> Program:
        socket, settings = self.directory / "bus", self.directory / "bus.conf"
        settings.write_text(_BUS.format(socket=socket))
        command = ["dbus-daemon", f"--config-file={settings}", "--nofork", "--nopidfile"]
        bus = resources.enter_context(Program(command, log=self.directory / "dbus"))
        wait_until(socket.exists, "the bus", program=bus)
        self._bus = bus
        return bus

    def _start_manager(self, resources: ExitStack, bus: Program) -> Program:
        tcti = f"--tcti=swtpm:path={self.directory / 'socket'}"
        command = [str(presence.program("tpm2-abrmd")), "--session", "--allow-root", tcti]
        manager = Program(command, log=self.directory / "abrmd", environment=self.environment)
        resources.callback(manager.stop)
        assert bus.running()
        wait_until(self._manager_is_on_the_bus, "the resource manager", program=manager)
        return manager

    def _manager_is_on_the_bus(self) -> bool:
        address = f"--bus=unix:path={self.directory / 'bus'}"
        question = ["--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"]
        said = run(["dbus-send", address, *question, "org.freedesktop.DBus.NameHasOwner", f"string:{_NAME}"])
        return "boolean true" in said
