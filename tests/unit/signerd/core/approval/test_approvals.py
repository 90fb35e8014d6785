"""What administrators sign, and when their signatures are enough."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.ssh_signing import PRESENT, SshSigner
from signerd.core.approval.administrators import AdministratorSet, namespace_of, parse_administrators
from signerd.core.approval.errors import ApprovalError
from signerd.core.approval.statement import MAX_PARTS, MAX_STATEMENT, Statement, parse_statement
from signerd.core.approval.verify import MAX_SIGNATURES, MAX_VALID, Approved, Installation, verify_approval

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
OURS = Installation("acme", "acme.example/log+1c5d3c8b+AQ==")
ANN, BOB, CAROL, STRANGER = (SshSigner.ed25519() for _ in range(4))
STICK = SshSigner.sk_ed25519()
KEYS = f"""ann {ANN.public_text}
bob {BOB.public_text}
carol {CAROL.public_text}
dan verify-required {STICK.public_text}
"""
ADMINISTRATORS = AdministratorSet(2, parse_administrators(KEYS, "acme"))
ORDER = {"work_order": "WO-1", "quantity": 500, "stations": ["birthmark://acme/station/a/b"], "bundle": None}
STATEMENT = Statement(
    deployment="acme",
    log=OURS.log,
    action="order_opened",
    request=bytes(range(16)),
    expires=NOW + timedelta(days=7),
    entries=(ORDER,),
    inputs=(bytes(32),),
)
TEXT = STATEMENT.text()


def sign(*signers: SshSigner, text: bytes = TEXT) -> list[bytes]:
    return [signer.sign(text, namespace_of("acme")) for signer in signers]


def verify(
    signatures: list[bytes],
    *,
    text: bytes = TEXT,
    administrators: AdministratorSet = ADMINISTRATORS,
    now: datetime = NOW,
    installation: Installation = OURS,
) -> Approved:
    return verify_approval(text, signatures, administrators, installation=installation, now=now)


def test_the_text_says_what_is_done_in_lines_that_people_read() -> None:
    assert TEXT.decode("ascii").splitlines() == [
        "Birthmark approval, form 1",
        "",
        'action: "order_opened"',
        'deployment: "acme"',
        "emergency: false",
        'expires: "2026-12-06T12:00:00Z"',
        f'inputs_sha256: ["{bytes(32).hex()}"]',
        f'log: "{OURS.log}"',
        f'request: "{bytes(range(16)).hex()}"',
        "",
        "bundle: null",
        "quantity: 500",
        'stations: ["birthmark://acme/station/a/b"]',
        'work_order: "WO-1"',
    ]
    assert parse_statement(TEXT) == STATEMENT


def test_enough_administrators_approve() -> None:
    approved = verify(sign(BOB, ANN))
    assert [signed.administrator for signed in approved.signatures] == ["ann", "bob"]
    approved.demand("order_opened", ORDER, given=bytes(32))


def test_more_than_enough_are_all_kept() -> None:
    assert len(verify(sign(BOB, ANN, CAROL, STICK)).signatures) == 4


def test_one_of_two_is_not_enough() -> None:
    with pytest.raises(ApprovalError, match="2 administrators of ann, bob, carol, dan are to sign, and ann"):
        verify(sign(ANN))
    with pytest.raises(ApprovalError, match="nobody did"):
        verify([])


def test_one_administrator_twice_is_one() -> None:
    with pytest.raises(ApprovalError, match="and ann did"):
        verify(sign(ANN, ANN))


def test_two_keys_of_one_administrator_are_one() -> None:
    keys = parse_administrators(KEYS.replace("bob", "ann"), "acme")
    with pytest.raises(ApprovalError, match="and ann did"):
        verify(sign(ANN, BOB), administrators=AdministratorSet(2, keys))


def test_a_stranger_s_key_refuses_all_and_is_named() -> None:
    with pytest.raises(ApprovalError, match=r"signature 3: signed by SHA256:.* no administrator's key"):
        verify(sign(ANN, BOB, STRANGER))


@pytest.mark.parametrize("namespace", ["file", "git", "birthmark-approval-v1@other", "birthmark-approval-v1"])
def test_a_signature_for_something_else_does_not_count(namespace: str) -> None:
    with pytest.raises(ApprovalError, match="namespace"):
        verify([*sign(ANN), BOB.sign(TEXT, namespace)])


def test_a_signature_over_another_text_does_not_count() -> None:
    other = replace(STATEMENT, entries=({**ORDER, "quantity": 501},)).text()
    with pytest.raises(ApprovalError, match=r"signature 2: .*another text"):
        verify([*sign(ANN), *sign(BOB, text=other)])


def test_more_signatures_than_keys_are_refused_unread() -> None:
    with pytest.raises(ApprovalError, match="17 signatures"):
        verify(sign(ANN) * (MAX_SIGNATURES + 1))


def test_a_security_key_that_did_not_ask_for_its_pin() -> None:
    verify(sign(ANN, STICK))
    with pytest.raises(ApprovalError, match="dan's security key did not ask"):
        verify(sign(ANN, STICK.saying(flags=PRESENT)))


@pytest.mark.parametrize(
    ("installation", "said"),
    [
        (Installation("other", OURS.log), "deployment"),
        (Installation("acme", "acme.example/log+00000000+AQ=="), "log"),
    ],
)
def test_an_approval_is_for_one_installation(installation: Installation, said: str) -> None:
    with pytest.raises(ApprovalError, match=f"for the {said}"):
        verify(sign(ANN, BOB), installation=installation)


def test_an_approval_ends() -> None:
    signatures = sign(ANN, BOB)
    verify(signatures, now=STATEMENT.expires - timedelta(seconds=1))
    with pytest.raises(ApprovalError, match="expired at 2026-12-06 12:00"):
        verify(signatures, now=STATEMENT.expires)


def test_no_approval_lasts_for_ever() -> None:
    text = replace(STATEMENT, expires=NOW + MAX_VALID + timedelta(seconds=1)).text()
    with pytest.raises(ApprovalError, match="more than 90 days"):
        verify(sign(ANN, BOB, text=text), text=text)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"quantity": 501}, "quantity is now 501, and not 500"),
        ({"stations": []}, "stations is now"),
        ({"issuer": "second"}, 'issuer is now "second", and not null'),
        ({"work_order": "WO-2"}, "work_order"),
    ],
)
def test_what_was_approved_is_what_is_done(changed: dict[str, object], said: str) -> None:
    approved = verify(sign(ANN, BOB))
    with pytest.raises(ApprovalError, match=said):
        approved.demand("order_opened", {**ORDER, **changed}, given=bytes(32))


def test_what_was_approved_is_the_action() -> None:
    with pytest.raises(ApprovalError, match="'order_opened', and not 'product_added'"):
        verify(sign(ANN, BOB)).demand("product_added", ORDER, given=bytes(32))


@pytest.mark.parametrize("given", [None, bytes([1, *bytes(31)])])
def test_what_was_approved_is_the_file(given: bytes | None) -> None:
    with pytest.raises(ApprovalError, match="another file or list"):
        verify(sign(ANN, BOB)).demand("order_opened", ORDER, given=given)


def test_several_entries_are_approved_each_in_its_place() -> None:
    parts = tuple({"count": number} for number in range(3))
    text = replace(STATEMENT, action="chips_personalized", entries=parts, inputs=(None,) * 3).text()
    approved = verify(sign(ANN, BOB, text=text), text=text)
    for part, members in enumerate(parts):
        approved.demand("chips_personalized", members, given=None, part=part)
    with pytest.raises(ApprovalError, match="count is now 1, and not 0"):
        approved.demand("chips_personalized", parts[1], given=None, part=0)
    for part in (3, -1):
        with pytest.raises(ApprovalError, match="one more"):
            approved.demand("chips_personalized", parts[0], given=None, part=part)


def test_an_emergency_takes_one_signature_and_is_a_revocation() -> None:
    text = replace(STATEMENT, action="revoked", emergency=True).text()
    assert len(verify(sign(CAROL, text=text), text=text).signatures) == 1
    with pytest.raises(ApprovalError, match="nobody did"):
        verify([], text=text)
    of_an_order = replace(STATEMENT, emergency=True).text()
    with pytest.raises(ApprovalError, match="no request for approval"):
        verify(sign(ANN, BOB, text=of_an_order), text=of_an_order)


CHANGES = {
    "nothing": b"",
    "no title": TEXT.partition(b"\n\n")[2],
    "another form": TEXT.replace(b"form 1", b"form 2"),
    "carriage returns": TEXT.replace(b"\n", b"\r\n"),
    "no last newline": TEXT[:-1],
    "a newline more": TEXT + b"\n",
    "a comment": TEXT + b"# seen\n",
    "a block more": TEXT + b"\nquantity 1\n",
    "a name twice": TEXT + b'work_order: "WO-1"\n',
    "names out of order": TEXT.replace(b"bundle: null\nquantity: 500", b"quantity: 500\nbundle: null"),
    "a space more": TEXT.replace(b"quantity: 500", b"quantity:  500"),
    "a fraction": TEXT.replace(b"quantity: 500", b"quantity: 500.0"),
    "no number": TEXT.replace(b"quantity: 500", b"quantity: NaN"),
    "not ascii": TEXT.replace(b'"WO-1"', '"WÖ-1"'.encode()),
    "a control character": TEXT.replace(b"WO-1", b"WO-\x1b[8m1"),
    "an object's name twice": TEXT.replace(b"bundle: null", b'bundle: {"a": 1, "a": 2}'),
    "deep": TEXT.replace(b"bundle: null", b"bundle: " + b"[" * 9_000 + b"]" * 9_000),
    "deeper than it may be": TEXT.replace(b"bundle: null", b"bundle: " + b"[" * 17 + b"]" * 17),
    "no entry": TEXT.partition(b"\n\nbundle")[0] + b"\n",
    "an input less": TEXT.replace(f'["{bytes(32).hex()}"]'.encode(), b"[]"),
    "a short input": TEXT.replace(bytes(32).hex().encode(), b"00"),
    "a header's name less": TEXT.replace(b"emergency: false\n", b""),
    "an emergency that is no boolean": TEXT.replace(b"emergency: false", b"emergency: 0"),
    "a short request": TEXT.replace(b'"000102', b'"0102'),
    "a request in capitals": TEXT.replace(b"0e0f", b"0E0F"),
    "another time": TEXT.replace(b"T12:00:00Z", b"T12:00Z"),
    "no time that exists": TEXT.replace(b"2026-12-06", b"2026-13-06"),
    "a deployment that is no text": TEXT.replace(b'deployment: "acme"', b"deployment: null"),
}


@pytest.mark.parametrize("text", CHANGES.values(), ids=CHANGES)
def test_a_text_has_one_form(text: bytes) -> None:
    with pytest.raises(ApprovalError, match="no request for approval"):
        parse_statement(text)


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_no_statement(data: bytes) -> None:
    for text in (data, TEXT + data[:50] + b"\n", b"Birthmark approval, form 1\n\n" + data):
        if text != TEXT:
            with pytest.raises(ApprovalError):
                parse_statement(text)


MEMBERS = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
    min_size=1,
    max_size=5,
)


@given(st.lists(MEMBERS, min_size=1, max_size=4))
def test_what_is_written_is_read_back(entries: list[dict[str, object]]) -> None:
    statement = replace(STATEMENT, entries=tuple(entries), inputs=(None,) * len(entries))
    assert parse_statement(statement.text()) == statement


def test_what_does_not_fit_into_an_entry_is_refused_before_anybody_signs() -> None:
    with pytest.raises(ApprovalError, match="split it"):
        replace(STATEMENT, entries=({"site": "x" * MAX_STATEMENT},)).text()
    many = MAX_PARTS + 1
    text = replace(STATEMENT, entries=tuple({"n": 1} for _ in range(many)), inputs=(None,) * many).text()
    with pytest.raises(ApprovalError, match="no request"):
        parse_statement(text)
