"""The forms of single members of ledger entries (docs/formats.md, "Names and bounds").

A form takes a decoded JSON value and returns it as the program uses it: hexadecimal as bytes, times as
aware datetimes. Every form raises Malformed for anything else.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from auditor.core.ssh_signature import check_key
from auditor.errors import Malformed
from birthmark.proof.succession import MAX_NUMBER, Predecessor

Form = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Administrator:
    """A key of somebody who is asked for approvals."""

    name: str
    key: str
    verify_required: bool


@dataclass(frozen=True, slots=True)
class ApprovalSignature:
    """A signature in the log. `counter` is None where the key is in no security key."""

    administrator: str
    sshsig: bytes
    counter: int | None


MAX_SHARES = 64
MAX_COMPONENTS = 64  # firmware components in one object
MAX_TOKEN_KEYS = 8  # to which secrets are sealed (docs/formats.md, "Sealed secrets")
MAX_ADMINISTRATORS = 16  # keys, and signatures of one approval
MAX_CERTIFICATES = 500  # in one `shared_primes_found` entry
MAX_INTEGER = 2**53 - 1  # RFC 8785 §3.2.2.3: beyond it numbers are not exact
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_VERSION = re.compile(r"(?P<numbers>[0-9]{1,10}(?:\.[0-9]{1,10}){0,3})(?:-(?P<tag>[A-Za-z0-9.-]+))?")
_PATTERN = re.compile(r"(?P<before>[^{}]*)\{number(?::0(?P<width>[1-9][0-9]?)d)?\}(?P<after>[^{}]*)")
_N = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


def matching(pattern: str) -> Form:
    """Text that matches a regular expression as a whole."""
    compiled = re.compile(pattern)

    def form(value: Any) -> str:
        if not isinstance(value, str) or compiled.fullmatch(value) is None:
            raise Malformed(f"does not match {pattern}")
        return value

    return form


name = matching(_N)
chip_id = matching(r"[A-Za-z0-9._:-]{1,64}")
component = matching(r"[A-Za-z0-9._-]{1,32}")
station = matching(rf"birthmark://{_N}/station/{_N}/{_N}")
auditor = matching(rf"birthmark://{_N}/auditor/{_N}")
peer = matching(rf"birthmark://{_N}/(?:station/{_N}/{_N}|auditor/{_N})")
origin = matching(r"[A-Za-z0-9][A-Za-z0-9./_-]{0,127}")
vkey = matching(r"[!-~]{1,255}")
signed_note = matching(r"[^\x00-\x09\x0b-\x1f\x7f]{1,4096}")  # C2SP signed-note, of some keys
label = matching(r"[A-Za-z0-9_./-]{1,64}")  # names of calls and codes
place_name = matching(r"[^\x00-\x1f\x7f]{1,64}")
private_oid = matching(
    r"1\.3\.6\.1\.4\.1(?:\.(?:0|[1-9][0-9]{0,9})){1,12}"
)  # an enterprise's own (RFC 1155 §3.1.4)
administrator = matching(r"[A-Za-z0-9._@-]{1,64}")
schema = matching(r"[0-9]{4}")  # of signerd's database
program_version = matching(r"[0-9A-Za-z.+-]{1,64}")


def boolean(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Malformed("is not a boolean")
    return value


def integer(value: Any) -> int:
    """0 to 2^53 - 1."""
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise Malformed("is not an integer from 0 to 2^53 - 1")
    return value


def positive(value: Any) -> int:
    """1 to 2^53 - 1."""
    if integer(value) == 0:
        raise Malformed("is 0")
    return int(value)


_HEX = re.compile(r"(?:[0-9a-f]{2})+")


def digest(value: Any) -> bytes:
    """32 bytes in lower-case hexadecimal."""
    if isinstance(value, str) and len(value) == 64:
        try:
            data = bytes.fromhex(value)
        except ValueError:
            data = b""
        if data.hex() == value:  # lower case, and no spaces between
            return data
    raise Malformed("is not 32 bytes in lower-case hexadecimal")


def entry_id(value: Any) -> bytes:
    """16 bytes in lower-case hexadecimal."""
    if not isinstance(value, str) or len(value) != 32 or _HEX.fullmatch(value) is None:
        raise Malformed("is not 16 bytes in lower-case hexadecimal")
    return bytes.fromhex(value)


def serial(value: Any) -> bytes:
    """A certificate serial (RFC 5280 §4.1.2.2): positive, at most 20 octets, without leading zeros."""
    if (
        not isinstance(value, str)
        or len(value) > 40
        or _HEX.fullmatch(value) is None
        or value.startswith("00")
    ):
        raise Malformed("is not a certificate serial in lower-case hexadecimal")
    return bytes.fromhex(value)


def time(value: Any) -> datetime:
    """`YYYY-MM-DDTHH:MM:SSZ`."""
    if isinstance(value, str):
        return _time(value)
    raise Malformed("is not a time of the form YYYY-MM-DDTHH:MM:SSZ")


@lru_cache(maxsize=1_024)  # entries of one second, and orders' windows, come again and again
def _time(value: str) -> datetime:
    if _TIME.fullmatch(value) is None:
        raise Malformed("is not a time of the form YYYY-MM-DDTHH:MM:SSZ")
    try:
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise Malformed("is not a time that exists") from error


def one_of(*values: str) -> Form:
    """One of a few texts."""

    def form(value: Any) -> str:
        if not isinstance(value, str) or value not in values:
            raise Malformed(f"is none of {', '.join(values)}")
        return value

    return form


def optional(inner: Form) -> Form:
    """Null, or what `inner` takes."""

    def form(value: Any) -> Any:
        return None if value is None else inner(value)

    return form


def stations(value: Any) -> frozenset[str]:
    """An array of distinct station URIs."""
    if not isinstance(value, list):
        raise Malformed("is not an array")
    found = frozenset(station(item) for item in value)
    if len(found) != len(value):
        raise Malformed("names a station twice")
    return found


def versions(value: Any) -> Mapping[str, str]:
    """An object of component names and versions."""
    if not isinstance(value, dict) or len(value) > MAX_COMPONENTS:
        raise Malformed("is not an object of at most 64 components")
    for key, version in value.items():
        component(key)
        version_key(version)
    return value


def shares(value: Any) -> Mapping[str, int]:
    """An object of key holders' names and numbers of places."""
    if not isinstance(value, dict) or not 1 <= len(value) <= MAX_SHARES:
        raise Malformed(f"is not an object of 1 to {MAX_SHARES} key holders")
    for holder, places in value.items():
        name(holder)
        integer(places)
    return value


def program_versions(value: Any) -> Mapping[str, str | None]:
    """An object of the programs' versions: signerd's, and the agent's or null."""
    if not isinstance(value, dict) or value.keys() != {"signerd", "agent"}:
        raise Malformed("is not an object of `signerd` and `agent`")
    program_version(value["signerd"])
    optional(program_version)(value["agent"])
    return value


def certificates(value: Any) -> tuple[bytes, ...]:
    """An array of 1 to 500 distinct SHA-256 values."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_CERTIFICATES:
        raise Malformed("is not an array of 1 to 500 certificates")
    found = tuple(digest(item) for item in value)
    if len(set(found)) != len(found):
        raise Malformed("names a certificate twice")
    return found


def token_keys(value: Any) -> tuple[bytes, ...]:
    """An array of at most 8 distinct SHA-256 values."""
    if not isinstance(value, list) or len(value) > MAX_TOKEN_KEYS:
        raise Malformed(f"is not an array of at most {MAX_TOKEN_KEYS} keys")
    found = tuple(digest(item) for item in value)
    if len(set(found)) != len(found):
        raise Malformed("names a key twice")
    return found


def ecdsa_signature(value: Any) -> bytes:
    """DER of an ECDSA signature, in small hexadecimal: 8 to 144 bytes."""
    if not isinstance(value, str) or re.fullmatch(r"(?:[0-9a-f]{2}){8,144}", value) is None:
        raise Malformed("is no signature")
    return bytes.fromhex(value)


def predecessors(value: Any) -> tuple[Predecessor, ...]:
    """An array of each log before, in their order: 1 to 98."""
    if not isinstance(value, list) or not 1 <= len(value) < MAX_NUMBER:
        raise Malformed(f"is not an array of 1 to {MAX_NUMBER - 1} logs")
    found = []
    for item in value:
        if not isinstance(item, dict) or item.keys() != {"number", "size", "root", "continued"}:
            raise Malformed("has an item that is not `number`, `size`, `root`, `continued`")
        numbers = (integer(item["number"]), integer(item["size"]))
        found.append(Predecessor(*numbers, digest(item["root"]), integer(item["continued"])))
    if [each.number for each in found] != list(range(1, len(found) + 1)):
        raise Malformed("does not name each log before, in their order")
    return tuple(found)


def administrators(value: Any) -> tuple[Administrator, ...]:
    """An array of at most 16 keys of administrators, by name and key, each once."""
    if not isinstance(value, list) or len(value) > MAX_ADMINISTRATORS:
        raise Malformed(f"is not an array of at most {MAX_ADMINISTRATORS} keys")
    found = []
    for item in value:
        if not isinstance(item, dict) or item.keys() != {"name", "key", "verify_required"}:
            raise Malformed("has an item that is not `name`, `key`, `verify_required`")
        ssh_key(item["key"])
        found.append(
            Administrator(administrator(item["name"]), item["key"], boolean(item["verify_required"]))
        )
    ordered = sorted(found, key=lambda each: (each.name, each.key))
    if ordered != found or len({each.key for each in found}) != len(found):
        raise Malformed("is not sorted, or has a key twice")
    return tuple(found)


def ssh_key(value: Any) -> str:
    """Algorithm and key, as in a `.pub` file."""
    if not isinstance(value, str):
        raise Malformed("is no SSH key")
    check_key(value)
    return value


def approval_signatures(value: Any) -> tuple[ApprovalSignature, ...]:
    """An array of 1 to 16 signatures, by administrator."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_ADMINISTRATORS:
        raise Malformed(f"is not an array of 1 to {MAX_ADMINISTRATORS} signatures")
    found = []
    for item in value:
        if not isinstance(item, dict) or item.keys() != {"administrator", "sshsig", "counter"}:
            raise Malformed("has an item that is not `administrator`, `sshsig`, `counter`")
        counter = optional(integer)(item["counter"])
        found.append(
            ApprovalSignature(administrator(item["administrator"]), base64_bytes(item["sshsig"]), counter)
        )
    return tuple(found)


def base64_bytes(value: Any) -> bytes:
    """Base64 in its one form."""
    try:
        data = base64.b64decode(value, validate=True)
    except (TypeError, ValueError) as error:
        raise Malformed("is not base64") from error
    if base64.b64encode(data).decode() != value:
        raise Malformed("is not base64 in its one form")
    return data


def text(value: Any) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise Malformed("is no text")
    return value


def version_key(value: Any) -> tuple[tuple[int, ...], bool, str]:
    """A firmware version as something that sorts as docs/formats.md says. Raises Malformed."""
    if not isinstance(value, str) or len(value) > 32:
        raise Malformed("is not a version")
    return _version_key(value)


@lru_cache(maxsize=1_024)
def _version_key(value: str) -> tuple[tuple[int, ...], bool, str]:
    match = _VERSION.fullmatch(value)
    if match is None:
        raise Malformed("is not a version")
    numbers = [int(part) for part in match["numbers"].split(".")]
    if max(numbers) > 0xFFFFFFFF:
        raise Malformed("a version's number is above 4294967295")
    numbers += [0] * (4 - len(numbers))
    return tuple(numbers), match["tag"] is None, match["tag"] or ""


def serial_pattern(value: Any) -> str:
    """Text with exactly one `{number}` or `{number:0Wd}`."""
    if not isinstance(value, str) or len(value) > 128 or _PATTERN.fullmatch(value) is None:
        raise Malformed("is not a serial pattern with one {number}")
    return value


def render_serial(pattern: str, number: int) -> str:
    """The serial number that a pattern, already of its form, gives for `number`."""
    match = _PATTERN.fullmatch(pattern)
    if match is None:
        raise Malformed("is not a serial pattern")
    return f"{match['before']}{number:0{int(match['width'] or 1)}d}{match['after']}"


def time_text(moment: datetime) -> str:
    """A time as it stands in entries and findings."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
