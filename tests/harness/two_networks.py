"""Two networks with a firewall between them, as signerd's machine and a factory PC have them: each with
addresses, and with names, of its own.

    with TwoNetworks() as networks:
        networks.name("signer.example.com", networks.signerd_v6)
        subprocess.run(networks.at_the_station("getent", "hosts", "signer.example.com"))
        networks.pass_only(Passes.SMALL)      # it drops the others, and tells nobody
        networks.forget()                     # as its restart does: connections of now are dropped
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where Debian has ip
_NAMES = Path("/etc/netns")  # ip-netns(8): files there are a namespace's own /etc
_LOOPBACK = "127.0.0.1 localhost\n::1 localhost\n"
# A connection is known in its zone alone: with the next zone, all are forgotten at one stroke.
_RULES = """
add table inet firewall
flush table inet firewall
table inet firewall {{
  chain zones {{ type filter hook prerouting priority raw; ct zone set {zone}; }}
  chain pass {{ type filter hook forward priority filter; policy drop;
    {passes}
    meta l4proto ipv6-icmp accept
    ct state established,related accept
    tcp flags syn / syn,ack,fin,rst ct state new accept
  }}
}}
"""


class Passes(Enum):
    """What the firewall lets pass, of what it knows."""

    ALL = ""
    SMALL = "meta length > 600 drop"  # bytes of a packet: all that speaks TLS sends larger ones
    NOTHING = "drop"


class TwoNetworks:
    """Network namespaces, which are there while the context is."""

    signerd_v4, station_v4 = "198.51.100.1", "203.0.113.1"  # RFC 5737
    signerd_v6, station_v6 = "2001:db8:1::1", "2001:db8:2::1"  # RFC 3849

    def __init__(self) -> None:
        mark = secrets.token_hex(3)  # several tests may run at once
        self._signerd, self._station = f"bm-signerd-{mark}", f"bm-station-{mark}"
        self._firewall = f"bm-firewall-{mark}"
        self._mark = mark
        self._zone = 1
        self._passes = Passes.ALL

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

    def ask_names_of(self, server: str) -> None:
        """From now on the factory PC asks this server for names that it does not know."""
        self._ask_names_of(self._station, server)

    @staticmethod
    def _ask_names_of(namespace: str, server: str) -> None:
        (_NAMES / namespace / "resolv.conf").write_text(f"nameserver {server}\n", "ascii")

    def pass_only(self, passes: Passes) -> None:
        """From now on."""
        self._passes = passes
        self._filter()

    def forget(self) -> None:
        """Drops what belongs to connections of now. Fresh ones pass, if any do."""
        self._zone += 1
        self._filter()

    def _filter(self) -> None:
        rules = _RULES.format(zone=self._zone, passes=self._passes.value)
        _run("netns", "exec", self._firewall, _tool("nft"), "-f", "-", said=rules)

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
        for namespace in (self._signerd, self._station, self._firewall):
            _run("netns", "add", namespace)
            (_NAMES / namespace).mkdir(parents=True)
            (_NAMES / namespace / "hosts").write_text(_LOOPBACK, "ascii")
            # Nobody listens there: what the file of hosts does not know is unknown at once.
            self._ask_names_of(namespace, "127.0.0.1")
            _run("-n", namespace, "link", "set", "lo", "up")
        self._connect(self._signerd, f"bmd{self._mark}", self.signerd_v4, self.signerd_v6)
        self._connect(self._station, f"bms{self._mark}", self.station_v4, self.station_v6)
        settings = "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"
        # A packet in the middle of a connection that it does not know makes none known.
        _run(
            "netns",
            "exec",
            self._firewall,
            _tool("sysctl"),
            *settings,
            "net.netfilter.nf_conntrack_tcp_loose=0",
        )
        self._filter()

    def _connect(self, namespace: str, link: str, v4: str, v6: str) -> None:
        """With the firewall, which has the second address of the same network."""
        theirs = f"{link}f"
        pair = "type", "veth", "peer", "name", theirs, "netns", self._firewall
        _run("link", "add", link, "netns", namespace, *pair)
        their_v4, their_v6 = (f"{address[:-1]}2" for address in (v4, v6))
        for where, name, own_v4, own_v6 in (
            (namespace, link, v4, v6),
            (self._firewall, theirs, their_v4, their_v6),
        ):
            _run("-n", where, "addr", "add", f"{own_v4}/24", "dev", name)
            # Without the search for duplicates, during which an address takes no connections.
            _run("-n", where, "addr", "add", f"{own_v6}/64", "dev", name, "nodad")
            _run("-n", where, "link", "set", name, "up")
        _run("-n", namespace, "route", "add", "default", "via", their_v4)
        _run("-n", namespace, "-6", "route", "add", "default", "via", their_v6)

    def _remove(self) -> None:
        for namespace in (self._signerd, self._station, self._firewall):
            shutil.rmtree(_NAMES / namespace, ignore_errors=True)
            # The links go with the namespaces. One that was not made is no fault here.
            subprocess.run([_ip(), "netns", "del", namespace], capture_output=True, check=False)


def no_two_networks() -> str:
    """Why there are none here; an empty text if there are."""
    for tool, package in (("ip", "iproute2"), ("nft", "nftables"), ("sysctl", "procps")):
        if shutil.which(tool, path=_PATH) is None:
            return f"{tool} is not installed (apt install {package})"
    try:
        with TwoNetworks() as networks:
            inside = networks.at_the_station("true")
            done = subprocess.run(inside, capture_output=True, text=True, check=False)
    except (subprocess.CalledProcessError, OSError) as error:
        said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        return f"no two network namespaces here: {said}"
    return f"no command in a network namespace here: {done.stderr.strip()}" if done.returncode else ""


def _ip() -> str:
    return _tool("ip")


def _tool(name: str) -> str:
    return shutil.which(name, path=_PATH) or name


def _run(*command: str, said: str = "") -> None:
    subprocess.run([_ip(), *command], input=said, capture_output=True, text=True, check=True)
