"""Names of the server: what passes, in which spelling, and what a client takes for the same."""

from __future__ import annotations

import pytest

from signerd.core.server_names import (
    LOCAL_NAMES,
    MAX_SERVER_NAMES,
    covers,
    is_local,
    names_for,
    server_name,
    server_names,
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("signer.example.com", "signer.example.com"),
        ("Signer.EXAMPLE.com", "signer.example.com"),
        ("signer", "signer"),
        ("xn--strae-oqa.example", "xn--strae-oqa.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8:0:0::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        (f"{'a' * 63}.example", f"{'a' * 63}.example"),
    ],
)
def test_a_name_has_one_spelling(text: str, name: str) -> None:
    assert server_name(text) == name
    assert server_name(name) == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("*.example.com", "wildcard"),
        ("signer.example.com:8443", "without its port"),
        ("[2001:db8::7]:8443", "without its port"),
        ("2001:db8::zz", "no IPv6 address"),
        ("https://signer.example.com", "no URL"),
        ("192.0.2.0/24", "no URL and no network"),
        ("signer.example.com.", "the dot at its end"),
        ("signer..example.com", "a dot too many"),
        ("signer_1.example.com", "letters, digits, hyphens"),
        ("signer example.com", "letters, digits, hyphens"),
        ("-signer.example.com", "hyphen"),
        ("straße.example", "A-label"),
        ("xn--a.example", "A-label"),
        (f"{'a' * 64}.example", "at most 63"),
        (".".join(["a" * 49] * 6), "at most 253"),
        ("192.0.2.256", "IP address"),
        ("192.0.2", "IP address"),
        ("0.0.0.0", "not the address of one machine"),
        ("::", "not the address of one machine"),
        ("224.0.0.1", "not the address of one machine"),
        ("255.255.255.255", "not the address of one machine"),
        ("fe80::1%eth0", "one machine alone"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("signer\0.example.com", "letters, digits, hyphens"),
        ("signer.example.com\n", "letters, digits, hyphens"),
    ],
)
def test_what_is_no_name_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        server_name(text)


def test_each_name_is_there_once_and_there_is_a_bound() -> None:
    assert server_names(["A.example", "a.example", "::1", "0:0::1"]) == ("a.example", "::1")
    names = [f"s{number}.example" for number in range(MAX_SERVER_NAMES)]
    assert len(server_names(names)) == MAX_SERVER_NAMES
    with pytest.raises(ValueError, match="at most 64"):
        server_names([*names, "one-more.example"])


@pytest.mark.parametrize(
    ("host", "more"),
    [
        ("0.0.0.0", ()),
        ("[::]", ()),
        ("127.0.0.1", ()),
        ("[fe80::1%eth0]", ()),
        ("10.1.2.3", ("10.1.2.3",)),
        ("[2001:db8::7]", ("2001:db8::7",)),
        ("lan.example", ("lan.example",)),
    ],
)
def test_the_certificate_also_has_where_signerd_listens(host: str, more: tuple[str, ...]) -> None:
    names = names_for(["signer.example.com"], host)
    assert set(names) == {"signer.example.com", *more, *LOCAL_NAMES}
    assert names[0] == "signer.example.com"


def test_what_a_client_takes_for_the_same() -> None:
    assert covers(["a.example", "192.0.2.7"], "a.example")
    assert covers(["a.example", "192.0.2.7"], "192.0.2.7")
    assert not covers(["a.example"], "b.a.example")
    assert not covers([], "a.example")
    assert covers(["*.example"], "a.example")
    assert not covers(["*.example"], "b.a.example")
    assert not covers(["*.example"], "example")


def test_names_that_mean_the_machine_itself() -> None:
    assert all(is_local(name) for name in (*LOCAL_NAMES, "::1", "127.0.0.9", "signer.localhost"))
    assert not any(is_local(name) for name in ("192.0.2.7", "2001:db8::7", "localhost.example"))
