"""What a certificate's names may say: RFC 5280 appendix A for subjects, §4.2.1.6 for alternative names.

The cryptography package encodes what it is given. Guarantees that a name which passes here is of its field's
length and alphabet, so that no certificate is malformed because of what a template was filled with.

Each function raises ValueError with the reason; the text names the bound and its source.
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv6Address

# Upper bounds of RFC 5280 appendix A.1. dnQualifier has none there; 64 is what X.520 gave its like.
UPPER_BOUNDS = {
    "C": 2,
    "O": 64,
    "OU": 64,
    "DNQ": 64,
    "ST": 128,
    "L": 128,
    "CN": 64,
    "serialNumber": 64,
}
# These are PrintableString and nothing else; the others may be UTF8String.
PRINTABLE = frozenset({"C", "DNQ", "serialNumber"})
_NOT_PRINTABLE = re.compile(r"[^A-Za-z0-9 '()+,./:=?-]")  # X.680 §41.4
_COUNTRY = re.compile(r"[A-Z]{2}")  # ISO 3166-1 alpha-2

MAX_LABEL, MAX_DNS_NAME = 63, 253  # RFC 1035 §2.3.4: 255 octets on the wire
_NOT_LDH = re.compile(r"[^A-Za-z0-9-]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# RFC 3986 appendix A: unreserved, reserved, or percent-encoded.
_URI_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
_PARTS = re.compile(
    r"(?://(?P<authority>[^/?#]*))?(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?"
)
_AUTHORITY = re.compile(
    r"(?:(?P<userinfo>[^@\[\]]*)@)?(?:\[(?P<literal>[^\[\]]*)\]|(?P<host>[^:@\[\]]*))(?::(?P<port>[0-9]*))?"
)
_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
MAX_URI = 1024  # our own: a leaf's TBS has a bound
# Bytes of all names of a certificate: the key holder takes 16 KiB for a TBS, the rest of it needs under two.
MAX_NAMES = 14 * 1024
NAME_OVERHEAD = 16  # DER around one: tags, lengths, an attribute's type
_UNSEEN = frozenset({"Zl", "Zp"})  # separators of lines and of paragraphs


def check_attribute(kind: str, text: str) -> None:
    """A subject's attribute, by its short name.

    Raises:
        ValueError: too long, empty, or of characters that its string type does not have.
    """
    bound = UPPER_BOUNDS[kind]
    if not text.strip():
        raise ValueError("it is empty")
    if len(text) > bound:
        raise ValueError(f"{len(text)} characters, at most {bound} (RFC 5280 appendix A.1)")
    if kind in PRINTABLE and (found := _NOT_PRINTABLE.search(text)):
        raise ValueError(f"{_shown(found[0])} is not in PrintableString, and {kind} allows nothing else")
    if kind == "C" and not _COUNTRY.fullmatch(text):
        raise ValueError("not two capital letters of ISO 3166-1")
    for character in text:
        category = unicodedata.category(character)
        # control, format, surrogate, private use, unassigned
        if category[0] == "C" or category in _UNSEEN:
            raise ValueError(f"{_shown(character)} is a character that nobody sees")
    # The cryptography package counts a common name's bytes, and so do relying parties.
    if kind == "CN" and (size := len(text.encode())) > bound:
        raise ValueError(
            f"{size} bytes in UTF-8, at most {bound}: shorten it, or use fewer letters beyond ASCII"
        )


def check_dns_name(text: str) -> None:
    """A dNSName: the preferred name syntax (RFC 1034 §3.5, RFC 1123 §2.1), A-labels for the rest.

    Raises:
        ValueError: it is no such name.
    """
    if len(text) > MAX_DNS_NAME:
        raise ValueError(f"a DNS name of {len(text)} characters, at most {MAX_DNS_NAME}")
    labels = text.split(".")
    for label in labels:
        _check_label(label)
    if labels[-1].isdigit():
        raise ValueError("its last label is a number: that is an IP address, or nothing, and no DNS name")


def _check_label(label: str) -> None:
    if not label:
        raise ValueError("an empty label: a dot too many")
    if len(label) > MAX_LABEL:
        raise ValueError(f"a label of {len(label)} characters, at most {MAX_LABEL} (RFC 1035 §2.3.4)")
    if not label.isascii():
        raise ValueError(f"{_shown(label)} is not ASCII: write its A-label, xn--… (RFC 5890)")
    if found := _NOT_LDH.search(label):
        raise ValueError(f"{_shown(found[0])} is not in a DNS name: letters, digits, hyphens (RFC 1034 §3.5)")
    if label.startswith("-") or label.endswith("-"):
        raise ValueError("a label begins or ends with a hyphen (RFC 1034 §3.5)")
    if label[2:4] == "--":
        _check_a_label(label)


def _check_a_label(label: str) -> None:
    if label[:2].lower() != "xn":
        raise ValueError(
            f"{_shown(label)}: hyphens in the third and fourth place are reserved (RFC 5890 §2.3.1)"
        )
    try:
        decoded = label[4:].lower().encode("ascii").decode("punycode")
        again = decoded.encode("punycode").decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"{_shown(label)} is no A-label (RFC 5890)") from error
    unseen = any(unicodedata.category(character)[0] == "C" for character in decoded)
    if again != label[4:].lower() or decoded.isascii() or unseen:
        raise ValueError(f"{_shown(label)} is no A-label (RFC 5890)")


def check_uri(text: str) -> None:
    """A uniformResourceIdentifier: absolute, RFC 3986; where it has an authority, a host is in it. URNs too.

    Raises:
        ValueError: it is no such URI.
    """
    if len(text) > MAX_URI:
        raise ValueError(f"a URI of {len(text)} characters, at most {MAX_URI}")
    if not text.isascii():
        raise ValueError("not ASCII: percent-encode it (RFC 3987 §3.1)")
    if not _URI_CHARACTERS.fullmatch(text):
        raise ValueError("a character, or a % without two digits, that is in no URI (RFC 3986 appendix A)")
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise ValueError("a relative reference: a scheme is wanted, as in https: or urn:")
    parts = _PARTS.fullmatch(text, scheme.end())
    if parts is None or any(
        bracket in (parts[name] or "") for name in ("path", "query", "fragment") for bracket in "[]"
    ):
        raise ValueError("brackets stand around an IPv6 address alone (RFC 3986 §3.2.2)")
    if "#" in (parts["fragment"] or ""):
        raise ValueError("a second # (RFC 3986 §3.5)")
    if parts["authority"] is None:
        if not parts["path"]:
            raise ValueError("nothing follows its scheme (RFC 5280 §4.2.1.6)")
        return
    _check_authority(parts["authority"])


def _check_authority(text: str) -> None:
    parts = _AUTHORITY.fullmatch(text)
    if parts is None:
        raise ValueError("its authority is not [userinfo@]host[:port] (RFC 3986 §3.2)")
    if parts["port"] and int(parts["port"]) > 65_535:
        raise ValueError("a port above 65535")
    if parts["literal"] is not None:
        try:
            IPv6Address(parts["literal"])
        except ValueError as error:
            raise ValueError("what stands in brackets is no IPv6 address") from error
        return
    host = parts["host"]
    if _IPV4.fullmatch(host) and all(int(octet) <= 255 for octet in host.split(".")):
        return
    try:
        check_dns_name(host)
    except ValueError as error:
        raise ValueError(
            f"its host: {error} (RFC 5280 §4.2.1.6 wants a domain name or an IP address)"
        ) from error


def _shown(text: str) -> str:
    return repr(text[:40])
