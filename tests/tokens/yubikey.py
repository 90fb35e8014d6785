"""A YubiKey in software, as a process finds one: behind pcscd, with Yubico's tools and PKCS#11 module.

    with VirtualYubiKey() as key:
        key.generate("9a", "ECCP256")
        pkcs11-tool --module {key.module} ...    in the environment {**os.environ, **key.environment}
        key.pull(); key.put_in(); key.hang(); key.answer()

Each has a pcscd of its own, behind a socket of its own: several run at once, and the machine's pcscd, if
there is one, is left alone. `VirtualYubiKey(PivCard(serial=1), PivCard(serial=2))` has two keys in it, as a
signer with a spare has. vpcd listens on two TCP ports, on all addresses: whoever reaches them can present
another card to the test. A real YubiKey in this machine is seen as well if the CCID driver is installed:
name tokens by label, which ends with the serial number.
"""

from __future__ import annotations

import functools
import os
import random
import socket
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.process import Program, ProgramError, run, wait_until
from tokens import presence
from tokens.piv_card import PIN, PivCard
from tokens.plug import Plug

# ykcs11 looks at readers of this maker only.
_READER = "Yubico YubiKey virtual"
_MOST = 2  # slots of a vpcd reader
_TRIES = 10  # to find ports
# Without the system's bus pcscd asks nobody whether its callers may come: its socket is in a folder of ours.
_NO_POLKIT = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"}
_FIRST_PORT, _LAST_PORT = 20_000, 32_000  # below those that Linux gives to outgoing connections


def missing() -> str | None:
    """Why there is no virtual YubiKey here; None if there is."""
    return presence.missing(
        "virtual YubiKey",
        pcscd=presence.program("pcscd"),
        vsmartcard_vpcd=_driver(),
        ykcs11=presence.library("libykcs11.so*"),
        yubico_piv_tool=presence.program("yubico-piv-tool"),
    )


def _driver() -> Path | None:
    return presence.library("pcsc/drivers/serial/libifdvpcd.so*")


class VirtualYubiKey:
    """One YubiKey, or two, and the pcscd in front of them."""

    def __init__(self, *cards: PivCard) -> None:
        self.cards = cards or (PivCard(),)
        if len(self.cards) > _MOST:
            raise ValueError(f"at most {_MOST} cards")
        self._plugs: list[Plug] = []
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        reason = missing()
        if reason is not None:
            raise ProgramError(reason)
        with self._resources as resources:
            # Not pytest's folder: the name of a Unix socket has at most 107 bytes (unix(7)).
            self.directory = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="piv-")))
            self._socket = self.directory / "pcscd.comm"
            port = self._start(resources)
            for number, card in enumerate(self.cards):
                plug = Plug(card, port + number)
                resources.callback(plug.close)
                plug.put_in()
                self._plugs.append(plug)
            self.wait_until_seen()
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    @property
    def module(self) -> str:
        """Yubico's PKCS#11 module."""
        return str(presence.library("libykcs11.so*"))

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to reach these keys and no others."""
        return {"PCSCLITE_CSOCK_NAME": str(self._socket)}

    @property
    def pin(self) -> str:
        """Of each card, while nobody changes it."""
        return PIN.decode()

    def label(self, number: int = 0) -> str:
        """The token's label in ykcs11."""
        return f"YubiKey PIV #{self.cards[number].serial}"

    def tool(self, *arguments: str | Path, number: int = 0) -> str:
        """Runs yubico-piv-tool on one of the cards; what it printed.

        Raises:
            ProgramError: it, or the card, refuses.
        """
        reader = f"{_READER} 00 {number:02}"
        command = ["yubico-piv-tool", "--reader", reader, *arguments]
        return run(command, environment={**os.environ, **self.environment}, timeout_s=60)

    def generate(
        self, slot: str, algorithm: str = "ECCP256", *, pin_policy: str = "", number: int = 0
    ) -> None:
        """Makes a key with Yubico's tool: ECCP256, ECCP384 or RSA2048; policy `never`, `once` or `always`."""
        policy = [f"--pin-policy={pin_policy}"] if pin_policy else []
        public = self.directory / f"{slot}.pem"
        self.tool("-a", "generate", "-s", slot, "-A", algorithm, *policy, "-o", public, number=number)

    def put_in(self, number: int = 0) -> None:
        """Puts a card back, and waits until pcscd has seen it."""
        self._plugs[number].put_in()
        self.wait_until_seen()

    def pull(self, number: int = 0) -> None:
        """Takes a card out, and waits until pcscd knows: a card that is back before is lost to it."""
        before = self._removals(number)
        self._plugs[number].pull()
        wait_until(lambda: self._removals(number) > before, "pcscd to miss the card", program=self._pcscd)

    def hang(self, number: int = 0) -> None:
        """The card answers nothing, until `answer` or `pull`."""
        self._plugs[number].hang()

    def answer(self, number: int = 0) -> None:
        """The card answers again."""
        self._plugs[number].answer()

    def _removals(self, number: int) -> int:
        return self._pcscd.output().count(f"Card Removed From {_READER} 00 {number:02}")

    def wait_until_seen(self) -> None:
        """Returns when Yubico's tool finds each card."""
        for number, card in enumerate(self.cards):
            seen = functools.partial(self._seen, number, card)
            wait_until(seen, f"card {card.serial}", program=self._pcscd)

    def _seen(self, number: int, card: PivCard) -> bool:
        if not self._plugs[number].is_in:
            return True
        try:
            return f"{card.serial}" in self.tool("-a", "status", number=number)
        except ProgramError:
            return False

    def _start(self, resources: ExitStack) -> int:
        """Starts pcscd on two ports that nobody has. The first of them."""
        folder = self.directory / "reader.d"
        folder.mkdir()
        for _ in range(_TRIES):
            port = _free_pair()
            (folder / "vpcd").write_text(
                f'FRIENDLYNAME "{_READER}"\nDEVICENAME /dev/null:{port:#x}\n'
                f"LIBPATH {_driver()}\nCHANNELID {port:#x}\n"
            )
            self._socket.unlink(missing_ok=True)
            log = self.directory / f"pcscd-{port}"
            activation = Path(__file__).with_name("socket_activation.py")
            pcscd = [str(presence.program("pcscd")), "--foreground", "--info", "--config", str(folder)]
            command: list[str | Path] = [sys.executable, "-P", activation, self._socket, *pcscd]
            self._pcscd = Program(command, log=log, environment=_NO_POLKIT)
            resources.callback(self._pcscd.stop)
            wait_until(lambda: "daemon ready" in self._pcscd.output(), "pcscd", program=self._pcscd)
            if self._pcscd.output().count("Waiting for virtual ICC") == _MOST:
                return port
            self._pcscd.stop()  # somebody took a port between our look and pcscd's
        raise ProgramError("found no two free ports for the reader")


def _free_pair() -> int:
    """The first of two ports that nobody listens on now."""
    while True:
        port = random.randrange(_FIRST_PORT, _LAST_PORT)
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("", port))
                second.bind(("", port + 1))
            except OSError:
                continue
            return port
