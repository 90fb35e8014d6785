"""The names that stations and auditors dial, as the server's certificate has them: DNS and IP.

    server_name("Signer.Example.com")    "signer.example.com"
    server_name("[2001:DB8::7]")         "2001:db8::7"

Guarantees that a name which passes here is one that a TLS client can compare with what it dialled (RFC 9525):
no wildcard, no port, no URL, nothing that stands for many machines.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from signerd.core.certificate_names import check_dns_name

LOCAL_NAMES = ("localhost", "127.0.0.1")  # for callers on signerd's own machine
MAX_SERVER_NAMES = 64  # our own: all of them go over the line in each handshake
_BROADCAST = IPv4Address("255.255.255.255")
_SHOWN = 80  # characters of a text that is no name


def server_name(text: str) -> str:
    """The name in the one spelling that certificates and settings have: lower case, addresses in their short
    form (RFC 5952), without brackets.

    Raises:
        ValueError: it is none that a certificate can have; the text says why.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ip_address(bare)
    except ValueError:
        address = None
    try:
        if address is None:
            _check_host(text)
            return text.lower()
        _check_address(address)
    except ValueError as error:
        raise ValueError(f"{text[:_SHOWN]!r} is no name that stations can dial: {error}") from error
    return str(address)


def is_server_name(text: str) -> bool:
    """True if it is a name in its one spelling."""
    try:
        return server_name(text) == text
    except ValueError:
        return False


def server_names(texts: Iterable[str]) -> tuple[str, ...]:
    """All of them, each once. Raises ValueError for one that is none, and for too many."""
    names = tuple(dict.fromkeys(server_name(text) for text in texts))
    if len(names) > MAX_SERVER_NAMES:
        raise ValueError(f"{len(names)} names for the server, at most {MAX_SERVER_NAMES}")
    return names


def names_for(dialled: Iterable[str], host: str) -> tuple[str, ...]:
    """What the server's certificate says: what stations dial, where signerd listens if that is one address,
    and the machine's own names.

    Raises:
        ValueError: one of `dialled` is no name, or there are too many.
    """
    return server_names((*dialled, *_listened(host), *LOCAL_NAMES))


def _listened(host: str) -> tuple[str, ...]:
    try:
        return (server_name(host),)
    except ValueError:  # all addresses of the machine, or one that means something there alone
        return ()


def is_local(name: str) -> bool:
    """True for a name that means the machine itself on every machine."""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")  # RFC 6761 §6.3


def covers(certified: Iterable[str], dialled: str) -> bool:
    """True if a client that dials `dialled`, in its one spelling, takes a certificate with these names."""
    parent = dialled.partition(".")[2]
    for name in certified:
        if name == dialled:
            return True
        # Ours have no wildcard. One that was made elsewhere may: for one label (RFC 9525 §6.3).
        if name.startswith("*.") and parent and name[2:] == parent:
            return True
    return False


def _check_address(address: IPv4Address | IPv6Address) -> None:
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError("a zone (%…) means something on one machine alone")
        if address.ipv4_mapped is not None:
            raise ValueError(f"give the IPv4 address {address.ipv4_mapped}")
    if address.is_unspecified or address.is_multicast or address == _BROADCAST:
        raise ValueError("it is not the address of one machine")


def _check_host(text: str) -> None:
    if "/" in text:
        raise ValueError("give the host alone, no URL and no network")
    if "*" in text:
        raise ValueError("a wildcard: give each name")
    if ":" in text:
        raise ValueError("it is no IPv6 address; give a host without its port")
    if text.endswith("."):
        raise ValueError("give it without the dot at its end")
    check_dns_name(text)
