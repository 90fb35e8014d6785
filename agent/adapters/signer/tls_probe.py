"""Tries the TLS line to signerd with Python's own ssl, whose errors say what gRPC's do not.

Blocks: call it in a thread.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.config import Signerd
from agent.errors import SignerUnavailable

_CLOCK = "Set this PC's clock (Windows: w32tm /resync; Linux: timedatectl set-ntp true)"


# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL's x509_vfy.h
_OTHER_NAME = frozenset({62, 64})


class LineBrokenError(SignerUnavailable):
    """There is no TLS line, and why."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.remedy = remedy


def probe(signerd: Signerd, *, timeout_s: float) -> str:
    """Connects as this station and returns a line about the server's certificate.

    Raises:
        LineBrokenError: name, route, TLS or certificate; with the remedy.
    """
    host, _, port = signerd.address.rpartition(":")
    host = host.strip("[]")
    try:
        context = _context(signerd.operations_ca, signerd.certificate, signerd.key)
        with (
            socket.create_connection((host, int(port)), timeout=timeout_s) as raw,
            context.wrap_socket(raw, server_hostname=host) as line,
        ):
            certificate = line.getpeercert() or {}
            _await_verdict(line)
            return f"{line.version()}, server certificate until {certificate.get('notAfter', 'unknown')}"
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _OTHER_NAME:
            raise _other_name(host, _names(signerd, host, int(port), timeout_s)) from error
        raise _explained_verification(error.verify_message) from error
    except OSError as error:
        raise _explained(error, signerd.address) from error


def _names(signerd: Signerd, host: str, port: int, timeout_s: float) -> list[str]:
    """What the certificate says instead, asked for once more without the comparison. The operations CA has to
    have signed it all the same; none where it cannot be had."""
    context = _context(signerd.operations_ca, signerd.certificate, signerd.key)
    context.check_hostname = False
    try:
        with (
            socket.create_connection((host, port), timeout=timeout_s) as raw,
            context.wrap_socket(raw, server_hostname=host) as line,
        ):
            certificate: Mapping[str, Any] = line.getpeercert() or {}
    except OSError:
        return []
    said = certificate.get("subjectAltName", ())
    return [_one_spelling(kind, name) for kind, name in said if kind in {"DNS", "IP Address"}]


def _one_spelling(kind: str, name: str) -> str:
    # OpenSSL prints addresses of IPv6 unshortened.
    return str(ipaddress.ip_address(name.strip())) if kind == "IP Address" else name


def _other_name(host: str, names: list[str]) -> LineBrokenError:
    has = f"it has {', '.join(names)}" if names else "it cannot be seen which it has"
    remedy = (
        "Set signerd.address to one of them. If this name is right, signerd's administrator makes a"
        f" certificate that has it: signerd server renew --name {host}"
    )
    return LineBrokenError(f"signerd's certificate does not have the name {host}: {has}", remedy)


def _context(operations_ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(operations_ca))
    context.load_cert_chain(str(certificate), str(key))
    context.set_alpn_protocols(["h2"])
    return context


def _await_verdict(line: ssl.SSLSocket) -> None:
    """In TLS 1.3 a server refuses a client's certificate only after the handshake: its first bytes tell.

    An HTTP/2 server speaks first (RFC 9113 §3.4), so something arrives either way.
    """
    line.recv(1)


def _explained(error: OSError, address: str) -> LineBrokenError:
    if isinstance(error, ssl.SSLError):
        remedy = "signerd did not accept this station's certificate: see its expiry, or enroll again."
        return LineBrokenError(f"TLS: {error.reason or error}", remedy)
    for kind, detail, remedy in (
        (socket.gaierror, f"the name in {address} is not known", "Check signerd.address and the DNS."),
        (ConnectionRefusedError, f"nothing listens at {address}", "Check the address; is signerd running?"),
        (TimeoutError, f"no answer from {address}", "Check network, firewall and VPN."),
    ):
        if isinstance(error, kind):
            return LineBrokenError(detail, remedy)
    return LineBrokenError(f"{address}: {error.strerror or error}", "Check network, firewall and VPN.")


def _explained_verification(reason: str) -> LineBrokenError:
    if "expired" in reason or "not yet valid" in reason:
        here = datetime.now(UTC).isoformat(timespec="seconds")
        return LineBrokenError(f"signerd's certificate: {reason} (it is {here} here)", _CLOCK)
    remedy = "Compare operations-ca.pem and the address with the administrator: it may be another server."
    return LineBrokenError(f"signerd's certificate does not hold: {reason}", remedy)
