"""Names of certificates: RFC 5280's bounds and alphabets."""

from __future__ import annotations

import pytest

from signerd.core.certificate_names import UPPER_BOUNDS, check_attribute, check_dns_name, check_uri


@pytest.mark.parametrize(
    ("kind", "bound"), [(kind, bound) for kind, bound in UPPER_BOUNDS.items() if kind != "C"]
)
def test_an_attribute_at_its_bound_and_one_above(kind: str, bound: int) -> None:
    check_attribute(kind, "A" * bound)
    with pytest.raises(ValueError, match=f"{bound + 1} characters, at most {bound}"):
        check_attribute(kind, "A" * (bound + 1))


@pytest.mark.parametrize("kind", ["serialNumber", "DNQ"])
@pytest.mark.parametrize("character", '_@*&é;#!"%~')
def test_printable_strings(kind: str, character: str) -> None:
    check_attribute(kind, "AZaz09 '()+,-./:=?")
    check_attribute("CN", f"a{character}b")
    with pytest.raises(ValueError, match=f"is not in PrintableString, and {kind} allows nothing else"):
        check_attribute(kind, f"a{character}b")


@pytest.mark.parametrize("text", ["", " ", "  "])
@pytest.mark.parametrize("kind", ["CN", "serialNumber", "O"])
def test_an_empty_attribute(kind: str, text: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        check_attribute(kind, text)


@pytest.mark.parametrize("text", ["D", "de", "DEU", "D1", "__"])
def test_countries(text: str) -> None:
    check_attribute("C", "DE")
    with pytest.raises(ValueError, match=r"ISO 3166|at most 2|PrintableString"):
        check_attribute("C", text)


@pytest.mark.parametrize("text", ["a\x00b", "a\nb", "a\u202eb", "a\u200bb", "a\u2028b", "a\u2029b", "\ud800"])
def test_characters_that_nobody_sees(text: str) -> None:
    check_attribute("CN", "Grüße 東京")
    with pytest.raises(ValueError, match="nobody sees"):
        check_attribute("CN", text)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "chip-1",
        "CHIP-1.devices.example.com",
        "a" * 63,
        ("a" * 62 + ".") * 4 + "b",
        "xn--mnchen-3ya.de",
        "1.a",
        "xn--strae-oqa.de",
    ],
)
def test_dns_names(text: str) -> None:
    check_dns_name(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a" * 64, "a label of 64 characters, at most 63"),
        ("a." + "b" * 64 + ".c", "a label of 64"),
        (("a" * 62 + ".") * 4 + "bc", "254 characters, at most 253"),
        ("", "empty label"),
        ("a..b", "empty label"),
        ("a.", "empty label"),
        (".a", "empty label"),
        ("a_b.example.com", "'_' is not in a DNS name"),
        ("7c:df", "':' is not in a DNS name"),
        ("*.example.com", "is not in a DNS name"),
        ("a b", "is not in a DNS name"),
        ("-a.b", "hyphen"),
        ("a-.b", "hyphen"),
        ("münchen.de", "A-label"),
        ("xn--zzzz\u00e9", "A-label"),
        ("xn--a.de", "no A-label"),
        ("xn--.de", "hyphen"),
        ("ab--cd.de", "reserved"),
        ("192.168.0.1", "a number"),
        ("a.1", "a number"),
    ],
)
def test_what_is_no_dns_name(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_dns_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://boards.example.com/7c:df:a1:00:00:01",
        "urn:example.com:Sensor:BM-1",
        "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "tag:example.com,2026:board:1",
        "https://[2001:db8::1]:8443/x?y=z#f",
        "https://192.0.2.1/",
        "spiffe://example.com/board/1",
        "https://user@example.com/",
        "coaps://a.example.com/%20",
        "mailto:a@example.com",
    ],
)
def test_uris(text: str) -> None:
    check_uri(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "relative"),
        ("boards/1", "relative"),
        ("//example.com/x", "relative"),
        ("1urn:x", "relative"),
        ("urn:", "nothing follows"),
        ("https:///x", "its host"),
        ("https://a_b.example.com/", "its host"),
        ("https://7c:df:a1:00:00:01/", "authority"),
        ("https://example.com:99999/", "port"),
        ("https://[::g]/", "IPv6"),
        ("https://192.0.2.256/", "its host"),
        ("https://example.com/a b", "in no URI"),
        ("https://example.com/%zz", "in no URI"),
        ("https://example.com/ä", "ASCII"),
        ("https://example.com/<x>", "in no URI"),
        ("https://example.com/[x]", "brackets"),
        ("https://example.com/#a#b", "second #"),
        ("urn:" + "a" * 1021, "at most 1024"),
        (f"https://{'a' * 64}.example.com/", "a label of 64"),
    ],
)
def test_what_is_no_uri(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_uri(text)
