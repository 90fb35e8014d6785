"""Two networks with a line between them, as signerd's machine and a factory PC have them: each with
addresses, and with names, of its own.

    with TwoNetworks() as networks:
        networks.name("signer.example.com", networks.signerd_v6)
        subprocess.run(networks.at_the_station("getent", "hosts", "signer.example.com"))
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where Debian has ip
_NAMES = Path("/etc/netns")  # ip-netns(8): files there are a namespace's own /etc
_LOOPBACK = "127.0.0.1 localhost\n::1 localhost\n"


class TwoNetworks:
    """Network namespaces, which are there while the context is."""

    signerd_v4, station_v4 = "198.51.100.1", "198.51.100.2"  # RFC 5737
    signerd_v6, station_v6 = "2001:db8::1", "2001:db8::2"  # RFC 3849

    def __init__(self) -> None:
        mark = secrets.token_hex(3)  # several tests may run at once
        self._signerd, self._station = f"bm-signerd-{mark}", f"bm-station-{mark}"
        self._links = f"bmd{mark}", f"bms{mark}"

    def at_signerd(self, *command: str | Path) -> list[str]:
        """The command, on signerd's machine."""
        return [_ip(), "netns", "exec", self._signerd, *map(str, command)]

    def at_the_station(self, *command: str | Path) -> list[str]:
        """The command, on the factory PC."""
        return [_ip(), "netns", "exec", self._station, *map(str, command)]

    def name(self, name: str, *addresses: str) -> None:
        """From now on the factory PC knows the name by these addresses alone."""
        known = "".join(f"{address} {name}\n" for address in addresses)
        (_NAMES / self._station / "hosts").write_text(_LOOPBACK + known, "ascii")

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _make(self) -> None:
        for namespace in (self._signerd, self._station):
            _run("netns", "add", namespace)
            (_NAMES / namespace).mkdir(parents=True)
            (_NAMES / namespace / "hosts").write_text(_LOOPBACK, "ascii")
        ours, theirs = self._links
        _run(
            *("link", "add", ours, "netns", self._signerd),
            *("type", "veth", "peer", "name", theirs, "netns", self._station),
        )
        for namespace, link, v4, v6 in (
            (self._signerd, ours, self.signerd_v4, self.signerd_v6),
            (self._station, theirs, self.station_v4, self.station_v6),
        ):
            inside = ("-n", namespace)
            _run(*inside, "addr", "add", f"{v4}/24", "dev", link)
            # Without the search for duplicates, during which an address takes no connections.
            _run(*inside, "addr", "add", f"{v6}/64", "dev", link, "nodad")
            for each in ("lo", link):
                _run(*inside, "link", "set", each, "up")

    def _remove(self) -> None:
        for namespace in (self._signerd, self._station):
            shutil.rmtree(_NAMES / namespace, ignore_errors=True)
            # The links go with the namespaces. One that was not made is no fault here.
            subprocess.run([_ip(), "netns", "del", namespace], capture_output=True, check=False)


def no_two_networks() -> str:
    """Why there are none here; an empty text if there are."""
    if shutil.which("ip", path=_PATH) is None:
        return "ip is not installed (apt install iproute2)"
    try:
        with TwoNetworks() as networks:
            inside = networks.at_the_station("true")
            done = subprocess.run(inside, capture_output=True, text=True, check=False)
    except (subprocess.CalledProcessError, OSError) as error:
        said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        return f"no two network namespaces here: {said}"
    return f"no command in a network namespace here: {done.stderr.strip()}" if done.returncode else ""


def _ip() -> str:
    return shutil.which("ip", path=_PATH) or "ip"


def _run(*command: str) -> None:
    subprocess.run([_ip(), *command], capture_output=True, text=True, check=True)
