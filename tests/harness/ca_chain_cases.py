"""What chains of CAs allow and what they do not, as companies buy them and as they go wrong.

    for case in CASES: case.chain, case.root, case.leaf_der, case.valid

A case that is invalid differs from a valid one in what its title says. `openssl` is the verdict of `openssl
verify -x509_strict -policy_check` where it is another one, on purpose: see signerd/core/issuing_chain.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ObjectIdentifier

from harness.ca_chains import (
    ANY,
    CLIENT,
    LOWER,
    MIDDLE,
    ROOT,
    SERVER,
    SUB,
    UPPER,
    Case,
    Extra,
    Leaf,
    Terms,
    address,
    constrained,
    constraints,
    directory,
    dns,
    key_twice,
    key_usage,
    mail,
    name,
    network,
    organization,
    other_signature,
    raw,
    uri,
    with_,
)

RSA = rsa.generate_private_key(65537, 2048)
POLICY = x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("1.2.3.4"), None)])
NO_CA = x509.BasicConstraints(ca=False, path_length=None)
REGISTERED = [x509.RegisteredID(ObjectIdentifier("1.2.3"))]


def _names() -> Iterator[Case]:
    """Name, constraints of the middle CA, the board's names, whether they are allowed."""
    a, other = dns("a.example"), dns("b.example")
    below, dotted = dns("x.a.example"), dns(".a.example")
    table: list[tuple[str, Extra, Leaf, bool]] = [
        ("DNS permitted", constraints(a), with_(*below), True),
        ("DNS permitted, the name itself", constraints(a), with_(*a), True),
        ("DNS permitted, in capitals", constraints(a), with_(*dns("X.A.Example")), True),
        ("DNS permitted, another", constraints(a), with_(*other), False),
        ("DNS permitted, letters before it", constraints(a), with_(*dns("xa.example")), False),
        ("DNS permitted, one of two", constraints(a), with_(*below, *other), False),
        ("DNS permitted with a dot", constraints(dotted), with_(*below), True),
        ("DNS permitted with a dot, the name itself", constraints(dotted), with_(*a), False),
        ("DNS excluded", constraints(None, a), with_(*below), False),
        ("DNS excluded, another", constraints(None, a), with_(*other), True),
        ("DNS excluded within permitted", constraints(a, below), with_(*below), False),
        ("DNS permitted, no DNS name", constraints(a), Leaf(), True),
        ("DNS permitted, common name like one", constraints(a), Leaf(name("x.b.example")), False),
        ("DNS permitted, common name within", constraints(a), Leaf(name("x.a.example")), True),
        (
            "DNS permitted, common name beside one",
            constraints(a),
            with_(*below, subject=name("b.example")),
            True,
        ),
        ("DNS excluded, common name like one", constraints(None, a), Leaf(name("x.a.example")), False),
        ("DNS permitted, common name of one label", constraints(a), Leaf(name("localhost")), True),
        ("DNS permitted, URI of another", constraints(a), with_(*uri("https://b.example/")), True),
        ("everything excluded", constraints(None, dns("")), with_(*other), False),
        ("URI permitted", constraints(uri("a.example")), with_(*uri("https://a.example/x")), True),
        (
            "URI permitted, with a port",
            constraints(uri("a.example")),
            with_(*uri("https://A.example:8/x")),
            True,
        ),
        ("URI permitted, below", constraints(uri("a.example")), with_(*uri("https://x.a.example/")), False),
        (
            "URI permitted with a dot",
            constraints(uri(".a.example")),
            with_(*uri("https://x.a.example")),
            True,
        ),
        ("URI permitted, another", constraints(uri("a.example")), with_(*uri("https://b.example/")), False),
        ("URI excluded", constraints(None, uri("a.example")), with_(*uri("https://a.example/")), False),
        (
            "URI excluded, another",
            constraints(None, uri("a.example")),
            with_(*uri("https://b.example/")),
            True,
        ),
        (
            "URI permitted, a colon in its path",
            constraints(uri("a.example")),
            with_(*uri("https://a.example/x:y")),
            False,
        ),
        (
            "URI permitted, a colon after a port",
            constraints(uri("a.example")),
            with_(*uri("https://a.example:8/x:y")),
            True,
        ),
        (
            "URI permitted, user information",
            constraints(uri("a.example")),
            with_(*uri("https://u@a.example/")),
            False,
        ),
        ("URI permitted, a URN", constraints(uri("a.example")), with_(*uri("urn:example:1")), False),
        ("URI excluded, a URN", constraints(None, uri("a.example")), with_(*uri("urn:example:1")), False),
        ("IP permitted", constraints(network("10.0.0.0/8")), with_(address("10.1.2.3")), True),
        ("IP permitted, another", constraints(network("10.0.0.0/8")), with_(address("11.1.2.3")), False),
        (
            "IP permitted, of the other version",
            constraints(network("10.0.0.0/8")),
            with_(address("fd00::1")),
            False,
        ),
        ("IP excluded", constraints(None, network("fd00::/8")), with_(address("fd00::1")), False),
        ("IP excluded, another", constraints(None, network("fd00::/8")), with_(address("fe80::1")), True),
        ("mail permitted, host", constraints(mail("a.example")), with_(*mail("x@a.example")), True),
        (
            "mail permitted, below the host",
            constraints(mail("a.example")),
            with_(*mail("x@y.a.example")),
            False,
        ),
        ("mail permitted with a dot", constraints(mail(".a.example")), with_(*mail("x@y.a.example")), True),
        ("mail permitted, mailbox", constraints(mail("x@a.example")), with_(*mail("x@a.example")), True),
        (
            "mail permitted, another mailbox",
            constraints(mail("x@a.example")),
            with_(*mail("y@a.example")),
            False,
        ),
        ("mail excluded", constraints(None, mail("a.example")), with_(*mail("x@a.example")), False),
        ("subject permitted", constraints(directory(organization("Example"))), Leaf(), True),
        (
            "subject permitted, in other letters",
            constraints(directory(organization("EXAMPLE  "))),
            Leaf(),
            True,
        ),
        (
            "subject permitted, another",
            constraints(directory(organization("Example"))),
            Leaf(name("BM-1", "Other")),
            False,
        ),
        (
            "subject permitted, letters after it",
            constraints(directory(organization("Example"))),
            Leaf(name("BM-1", "Example Corp")),
            False,
        ),
        ("subject excluded", constraints(None, directory(name("BM-1"))), Leaf(), False),
        ("subject excluded, another", constraints(None, directory(name("BM-1"))), Leaf(name("BM-2")), True),
        (
            "directory name permitted, another",
            constraints(directory(organization("Example"))),
            with_(*directory(organization("Other"))),
            False,
        ),
        (
            "registered ids constrained, and one there",
            constraints(REGISTERED),
            with_(*REGISTERED),
            False,
        ),
        ("registered ids constrained, and none there", constraints(REGISTERED), Leaf(), True),
    ]
    for title, extra, leaf, valid in table:
        # The names of the CAs below the constrained one are within what it says, but for the subjects'.
        yield Case(title, constrained(extra), valid, leaf)
    yield Case("names constrained by the root", constrained(constraints(a), at=ROOT), False, with_(*other))
    yield Case("names constrained by the sub-CA", constrained(constraints(a), at=SUB), False, with_(*other))
    plain = (x509.NameConstraints(a, None), False)
    yield Case("names constrained, not critical", constrained(plain), False, with_(*other))
    outside = constrained(constraints(directory(organization("Example"))))
    yield Case("a sub-CA outside its constraints", (*outside[:2], replace(SUB, organization="Other")), False)
    maximum = raw("2.5.29.30", bytes.fromhex("300fa00d300b82066d2e74657374810105"))
    yield Case("a subtree with a maximum", constrained(maximum), False, with_(*dns("x.m.test")))
    yield Case("constraints that are none", constrained(raw("2.5.29.30", b"\x30\x03\x02\x01\x00")), False)


def _paths() -> Iterator[Case]:
    yield Case("a sub-CA below the root", (ROOT, SUB), True)
    yield Case("four above the sub-CA", (ROOT, Terms("Top"), UPPER, MIDDLE, LOWER, SUB), True)
    yield Case(
        "five above the sub-CA",
        (ROOT, Terms("Top"), UPPER, MIDDLE, LOWER, Terms("Last"), SUB),
        False,
        openssl=True,
    )
    yield Case("a cross-signed root", (ROOT, MIDDLE, SUB), True, above_root=Terms("Old root"))
    yield Case(
        "path lengths that suffice", (replace(ROOT, path_length=2), replace(MIDDLE, path_length=1), SUB), True
    )
    yield Case("path length of the middle", (ROOT, replace(MIDDLE, path_length=0), SUB), False)
    yield Case("path length of the root", (replace(ROOT, path_length=0), SUB), False)
    yield Case("path length, self-issued aside", (ROOT, replace(MIDDLE, path_length=1), MIDDLE, SUB), True)
    yield Case(
        "a sub-CA that is none",
        (ROOT, replace(SUB, path_length=None, basic=NO_CA)),
        False,
    )
    yield Case(
        "a middle that is no CA",
        (ROOT, replace(MIDDLE, basic=NO_CA), SUB),
        False,
    )
    yield Case("basic constraints not critical", (ROOT, replace(MIDDLE, basic_critical=False), SUB), False)
    yield Case(
        "no keyCertSign", (ROOT, replace(MIDDLE, usage=key_usage(sign_certificates=False)), SUB), False
    )
    yield Case("no key usage", (ROOT, replace(MIDDLE, usage=None), SUB), False)
    yield Case("no subject key identifier", (ROOT, replace(MIDDLE, subject_key_id=False), SUB), False)
    yield Case("no authority key identifier", (ROOT, replace(MIDDLE, authority_key_id=False), SUB), False)
    yield Case("the key identifier of another", (ROOT, MIDDLE, replace(SUB, wrong_key_id=True)), False)
    unknown = raw("1.3.6.1.4.1.55555.1", b"\x05\x00")
    for terms in (ROOT, MIDDLE, SUB):
        yield Case(f"unknown critical extension, {terms.common_name}", constrained(unknown, at=terms), False)
    known = raw("1.3.6.1.4.1.55555.1", b"\x05\x00", critical=False)
    yield Case("unknown extension that is not critical", constrained(known), True)
    points = x509.CRLDistributionPoints(
        [x509.DistributionPoint(uri("http://a.example/crl"), None, None, None)]
    )
    yield Case("distribution points", constrained((points, False)), True)
    yield Case("critical distribution points", constrained((points, True)), False, openssl=True)
    yield Case("a key twice", (ROOT, MIDDLE, SUB), False, openssl=True, build=key_twice)
    yield Case("another signature", (ROOT, MIDDLE, SUB), False, build=other_signature)

    yield Case("RSA above", (replace(ROOT, key=RSA), MIDDLE, SUB), True)
    yield Case("an RSA sub-CA", (ROOT, MIDDLE, replace(SUB, key=RSA)), True)
    yield Case("policies", constrained((POLICY, True)), True)
    for skipped, valid in ((0, False), (1, False), (2, False), (3, True)):
        explicit = (x509.PolicyConstraints(skipped, None), True)
        yield Case(f"explicit policy after {skipped}", constrained(explicit), valid)
    yield Case(
        "explicit policy that the root wants",
        constrained((x509.PolicyConstraints(0, None), True), at=ROOT),
        False,
        openssl=True,
    )
    yield Case("policy mapping inhibited", constrained((x509.PolicyConstraints(None, 0), True)), True)
    yield Case("any policy inhibited", constrained((x509.InhibitAnyPolicy(0), True)), True)


def _purposes() -> Iterator[Case]:
    def usages(*oids: ObjectIdentifier) -> Extra:
        return x509.ExtendedKeyUsage(oids), False

    client, both = Leaf(purposes=(CLIENT,)), Leaf(purposes=(CLIENT, SERVER))
    yield Case("purposes of none", (ROOT, MIDDLE, SUB), True, both)
    yield Case("a purpose that the CA has", constrained(usages(CLIENT)), True, client)
    yield Case("a purpose that the CA lacks", constrained(usages(SERVER)), False, client)
    yield Case("one of two purposes that the CA lacks", constrained(usages(CLIENT)), False, both)
    yield Case("a purpose that the root lacks", constrained(usages(SERVER), at=ROOT), False, client)
    yield Case("any purpose alone", constrained(usages(ANY)), False, client)
    yield Case("any purpose beside the board's", constrained(usages(ANY, CLIENT)), True, client)
    yield Case("a CA with a purpose, a board without", constrained(usages(CLIENT)), True)
    apart = (ROOT, replace(MIDDLE, extra=(usages(CLIENT),)), replace(SUB, extra=(usages(SERVER),)))
    yield Case("no purpose in common", apart, False, client)


NAME_CASES = tuple(_names())
PURPOSE_CASES = tuple(_purposes())
CASES = (*tuple(_paths()), *PURPOSE_CASES, *NAME_CASES)
