"""The form of what a board hands over with its request: claims and CSR (docs/formats.md, "Claims").

signerd says `request_malformed` of claims that are not of their form, and nothing finer. The station says
which field it is, before it sends them. What the evidence says is not looked into here.
"""

from __future__ import annotations

import re
from typing import Any

from agent.core import strict_cbor
from agent.core.strict_cbor import CborError
from agent.core.version import version_key
from agent.errors import BoardError

MAX_CLAIMS_BYTES = 4_096
_MAX_ITEMS = 16  # components, and locks
_DIGEST_BYTES = 32
_COMPONENT = re.compile(r"[A-Za-z0-9._-]{1,32}")
_SEQUENCE = 0x30  # of DER: a CSR is one (RFC 2986 §4.2)
_SHORT, _LONGEST = 0x80, 2  # a length below it is one byte; more than 2 further ones no CSR in bounds has
_REMEDY = (
    'Take the board to the repair desk: its firmware does not follow docs/formats.md, "Claims". If all boards'
    " say so, tell the firmware's makers what stands here."
)


def check_claims(claims: bytes) -> None:
    """Raises BoardError `request_malformed`, which names the field, for claims that signerd would refuse."""
    try:
        item = strict_cbor.decode(claims, max_bytes=MAX_CLAIMS_BYTES)
    except CborError as error:
        raise _malformed("claims", str(error)) from error
    if not isinstance(item, list) or len(item) != 2:
        raise _malformed("claims", "it is no array of firmware and security_state")
    firmware, locks = item
    for name, what in (("firmware", firmware), ("security_state", locks)):
        _check_map(name, what)
    for name, component in firmware.items():
        _check_component(f"firmware.{name}", component)
    for name, closed in locks.items():
        if type(closed) is not bool:
            raise _malformed(f"security_state.{name}", "it is neither true nor false")


def check_csr_form(csr: bytes) -> None:
    """Raises BoardError `request_malformed` unless the bytes are one DER sequence and nothing after it.

    What is inside is signerd's to judge (`csr_rejected`).
    """
    if len(csr) < 2 or csr[0] != _SEQUENCE:
        raise _malformed("csr", "it does not begin as DER's SEQUENCE")
    length, header = csr[1], 2
    if length >= _SHORT:
        more = length - _SHORT
        if not 1 <= more <= _LONGEST or len(csr) < header + more:
            raise _malformed("csr", "its length is not of DER's form")
        length, header = int.from_bytes(csr[header : header + more], "big"), header + more
        if length < _SHORT or length >> 8 * (more - 1) == 0:
            raise _malformed("csr", "its length is not of DER's shortest form")
    if len(csr) != header + length:
        raise _malformed("csr", f"it has {len(csr)} bytes, and says {header + length}")


def _check_map(name: str, item: Any) -> None:
    if not isinstance(item, dict):
        raise _malformed(name, "it is no map")
    if len(item) > _MAX_ITEMS:
        raise _malformed(name, f"it has {len(item)} items, allowed are {_MAX_ITEMS}")
    for key in item:
        if _COMPONENT.fullmatch(key) is None:
            raise _malformed(name, f"{_shown(key)} is no name: 1 to 32 of [A-Za-z0-9._-]")


def _check_component(name: str, item: Any) -> None:
    match item:
        case [str(version), bytes(digest)]:
            pass
        case _:
            raise _malformed(name, "it is not [version, SHA-256]")
    try:
        version_key(version)
    except ValueError as error:
        raise _malformed(name, f"{_shown(version)} is no version") from error
    if len(digest) != _DIGEST_BYTES:
        raise _malformed(name, f"its SHA-256 has {len(digest)} bytes, not {_DIGEST_BYTES}")


def _shown(text: str) -> str:
    return repr(text[:40])  # without control characters: a board made it


def _malformed(field: str, why: str) -> BoardError:
    return BoardError("request_malformed", f"the board's {field}: {why}", remedy=_REMEDY)
