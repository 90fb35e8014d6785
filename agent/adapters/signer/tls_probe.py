"""Tries the TLS connection to signerd with Python's own ssl, whose errors say what gRPC's do not.

    error = await asyncio.to_thread(diagnose, config.signerd, timeout_s=5)
    if error is not None: ...  # error.code, error.detail, error.remedy, error.stops_line

One verdict each: which one it is, is said by the first thing that fails. Blocks: call it in a thread.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from agent.adapters.enrolment.credentials import (
    check_issuer,
    check_pair,
    check_validity,
    parse_cas,
    parse_certificate,
    read_file,
)
from agent.config import Signerd
from agent.errors import ConfigError, SignerUnavailable, Verdict

_CLOCK = "Set this PC's clock (Windows: w32tm /resync; Linux: timedatectl set-ntp true)."
_ADDRESS = "Check host and port of signerd.address with signerd's administrator."
_NETWORK = "Check network, firewall and VPN."
_LARGE = "Where it worked before: do large packets pass (MTU of a VPN)?"
_FILES = "Take these files as they were sent, or have signerd's administrator send them again."
_ASK = "Ask signerd's administrator: the station may be revoked, or signerd may be another company's."

# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL's x509_vfy.h
_OTHER_NAME = frozenset({62, 64})
# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED
_OUT_OF_TIME = frozenset({9, 10})
# What OpenSSL calls an answer that is no TLS at all.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "PACKET_LENGTH_TOO_LONG"})
_NO_TLS_WORDS = ("record layer failure", "bad record", "invalid record")


class LineBrokenError(SignerUnavailable):
    """There is no TLS line, and why.

    `code` is `line_name_unknown`, `line_unreachable` or `line_closed`, which may pass by themselves;
    `line_silent`, which may pass where signerd answered before; or `line_no_tls`, `line_wrong_ca`,
    `line_wrong_name`, `line_clock`, `line_certificate`, which only a person can mend.
    """

    def __init__(self, code: str, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.code = code
        self.remedy = remedy
        if code in {"line_no_tls", "line_wrong_ca", "line_wrong_name", "line_clock", "line_certificate"}:
            self.verdict = Verdict.STOP


def diagnose(signerd: Signerd, *, timeout_s: float) -> LineBrokenError | ConfigError | None:
    """What is wrong with the connection to signerd; None where TLS stands and signerd takes this certificate.

    Args:
        signerd: where it is, and the station's files.
        timeout_s: of the whole; nobody can stretch it by answering in drops.
    """
    try:
        probe(signerd, timeout_s=timeout_s)
    except (LineBrokenError, ConfigError) as error:
        return error
    return None


def probe(signerd: Signerd, *, timeout_s: float) -> str:
    """Connects as this station and returns a line about the server's certificate.

    Raises:
        LineBrokenError: name, route, TLS or certificate; with the remedy.
        ConfigError: a file of the station cannot be used.
    """
    context = _context(signerd)
    try:
        raw = _connected(signerd.address, timeout_s)
    except (OSError, UnicodeError) as error:
        raise _no_way(error, signerd.address, timeout_s) from error
    try:
        with raw:
            return _looked_at(context, raw, signerd)
    except TimeoutError as error:
        detail = f"no answer within {timeout_s:g} s: something listens at {signerd.address}, and says nothing"
        raise LineBrokenError("line_silent", detail, f"{_ADDRESS} {_NETWORK} {_LARGE}") from error
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _OTHER_NAME:
            raise _other_name(_host(signerd), _names(signerd, timeout_s)) from error
        raise _explained_verification(error, signerd) from error
    except OSError as error:
        raise _explained(error, signerd) from error


def _looked_at(context: ssl.SSLContext, raw: socket.socket, signerd: Signerd) -> str:
    # Python's ssl bounds a handshake as a whole, and not each of its bytes: nobody stretches it with drops.
    with context.wrap_socket(raw, server_hostname=_host(signerd)) as line:
        certificate = line.getpeercert() or {}
        if line.selected_alpn_protocol() != "h2":
            detail = f"{signerd.address} speaks TLS, but is not signerd: it does not offer HTTP/2"
            raise LineBrokenError("line_no_tls", detail, _ADDRESS)
        _await_verdict(line, signerd)
        return f"{line.version()}, server certificate until {certificate.get('notAfter', 'unknown')}"


def _await_verdict(line: ssl.SSLSocket, signerd: Signerd) -> None:
    """In TLS 1.3 a server refuses a client's certificate only after the handshake: its first bytes tell, or
    that none come (gRPC's servers send no alert).

    An HTTP/2 server speaks first (RFC 9113 §3.4), so something arrives either way.
    """
    try:
        if line.recv(1):
            return
    except ConnectionError:
        pass  # closed all the same
    except ssl.SSLError as error:
        if error.errno != ssl.SSL_ERROR_EOF:
            raise
    if (cause := _seen_in_certificate(signerd)) is not None:
        raise cause
    detail = f"{signerd.address} closes the connection after the handshake"
    raise LineBrokenError("line_closed", detail, f"See whether signerd is just stopping. Else: {_ASK}")


def _connected(address: str, timeout_s: float) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s)


def _host(signerd: Signerd) -> str:
    return signerd.address.rpartition(":")[0].strip("[]")


def _names(signerd: Signerd, timeout_s: float) -> list[str]:
    """What the certificate says instead, asked for once more without the comparison. The operations CA has to
    have signed it all the same; none where it cannot be had."""
    context = _context(signerd)
    context.check_hostname = False
    try:
        with (
            _connected(signerd.address, timeout_s) as raw,
            context.wrap_socket(raw, server_hostname=_host(signerd)) as line,
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
    detail = f"signerd's certificate does not have the name {host}: {has}"
    return LineBrokenError("line_wrong_name", detail, remedy)


def _context(signerd: Signerd) -> ssl.SSLContext:
    """Raises ConfigError, which names the file."""
    cas = parse_cas(read_file(signerd.operations_ca), str(signerd.operations_ca))
    held = parse_certificate(read_file(signerd.certificate), str(signerd.certificate))
    check_pair(held, read_file(signerd.key))
    context = _context_of(b"".join(ca.public_bytes(Encoding.DER) for ca in cas), signerd.operations_ca)
    try:
        context.load_cert_chain(str(signerd.certificate), str(signerd.key))
    except OSError as error:
        detail = f"{signerd.certificate} and {signerd.key} cannot be used for TLS: {_reason(error)}"
        raise ConfigError(detail, remedy=_FILES) from error
    # Which lines stand is gRPC's to say. Python from 3.13 on would also refuse a CA whose form is not strict.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["h2"])
    return context


def _context_of(cas_der: bytes, file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=cas_der)
    except OSError as error:
        raise ConfigError(f"{file} cannot be used for TLS: {_reason(error)}", remedy=_FILES) from error


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error).lower().replace("_", " ")
    return error.strerror or str(error)


def _no_way(error: OSError | UnicodeError, address: str, timeout_s: float) -> LineBrokenError:
    """No connection."""
    if isinstance(error, socket.gaierror | UnicodeError):  # or a label that no name can have
        detail = f"the name in {address} is not known"
        return LineBrokenError("line_name_unknown", detail, "Check signerd.address and the DNS.")
    if isinstance(error, ConnectionRefusedError):
        detail = f"nothing listens at {address}"
        return LineBrokenError(
            "line_unreachable", detail, "Check signerd.address, and that signerd is running."
        )
    if isinstance(error, TimeoutError):
        detail = f"no answer within {timeout_s:g} s from {address}"
        return LineBrokenError("line_unreachable", detail, f"{_ADDRESS} {_NETWORK}")
    return LineBrokenError("line_unreachable", f"{address}: {_reason(error)}", f"{_ADDRESS} {_NETWORK}")


def _explained(error: OSError, signerd: Signerd) -> LineBrokenError:
    """A connection, and no TLS."""
    cut = not isinstance(error, ssl.SSLError) or error.errno == ssl.SSL_ERROR_EOF
    if not cut and isinstance(error, ssl.SSLError):
        return _explained_tls(error, signerd)
    detail = f"{signerd.address} takes the connection and closes it at once"
    remedy = f"See whether signerd is at its limit of connections. {_ADDRESS}"
    return LineBrokenError("line_closed", detail, remedy)


def _explained_tls(error: ssl.SSLError, signerd: Signerd) -> LineBrokenError:
    reason = _reason(error)
    if error.reason in _NO_TLS or any(words in reason for words in _NO_TLS_WORDS):
        detail = f"no TLS there: what answers at {signerd.address} is another kind of server"
        return LineBrokenError("line_no_tls", detail, _ADDRESS)
    if "alert" not in reason:
        return LineBrokenError("line_no_tls", f"TLS fails at {signerd.address}: {reason}", _ADDRESS)
    if "protocol version" in reason or "handshake failure" in reason or "application protocol" in reason:
        detail = f"{signerd.address} takes no TLS of this program's: {reason}"
        return LineBrokenError("line_no_tls", detail, _ADDRESS)
    return _not_let_in(reason, signerd)


def _not_let_in(alert: str, signerd: Signerd) -> LineBrokenError:
    detail = f"signerd does not accept this station's certificate ({alert})"
    return _seen_in_certificate(signerd) or LineBrokenError("line_certificate", detail, _ASK)


def _seen_in_certificate(signerd: Signerd) -> LineBrokenError | None:
    """Why signerd refuses this station's certificate, as far as this PC can see."""
    try:
        certificate = parse_certificate(read_file(signerd.certificate), str(signerd.certificate))
        check_validity(certificate)
        check_issuer(certificate, parse_cas(read_file(signerd.operations_ca), "operations_ca"))
    except ConfigError as error:
        return LineBrokenError("line_certificate", error.detail, error.remedy)
    return None


def _explained_verification(error: ssl.SSLCertVerificationError, signerd: Signerd) -> LineBrokenError:
    reason = error.verify_message
    if error.verify_code in _OUT_OF_TIME:
        here = datetime.now(UTC).isoformat(timespec="seconds")
        detail = f"signerd's certificate: {reason} (it is {here} here)"
        remedy = f"{_CLOCK} If it is right, signerd's administrator renews it: signerd server renew"
        return LineBrokenError("line_clock", detail, remedy)
    remedy = (
        "Compare operations-ca.pem (signerd.operations_ca) and signerd.address with signerd's administrator:"
        " one of them is another's."
    )
    detail = f"{signerd.address}: signerd's certificate is not under this operations CA: {reason}"
    return LineBrokenError("line_wrong_ca", detail, remedy)
