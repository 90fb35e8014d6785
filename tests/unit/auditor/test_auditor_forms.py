"""Entries, CBOR, claims, settings and versions: strict forms, and nothing but domain errors."""

from __future__ import annotations

import contextlib
import json
from hashlib import sha256
from typing import Any

import cbor2
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from auditor.core import cbor, forms
from auditor.core.claims import check_minimum, parse_claims, split_settings, transcript
from auditor.core.entry import Issued, parse_entry, reread_entry
from auditor.core.stamp import parse_stamp
from auditor.errors import CheckFailed, Malformed
from harness.audit_bench import small
from harness.paper_log import FIRMWARE, LOCKS
from harness.ssh_signing import SshSigner

ENTRIES = small().entries
ENTRIES_OF_FORM_1 = small(form=1).entries


def _issued(entries: list[bytes]) -> dict[str, Any]:
    return next(json.loads(entry) for entry in entries if json.loads(entry)["type"] == "issued")


ISSUED = _issued(ENTRIES)
ISSUED_IN_FORM_1 = _issued(ENTRIES_OF_FORM_1)


@pytest.mark.parametrize("data", ENTRIES + ENTRIES_OF_FORM_1)
def test_honest_entries_are_read(data: bytes) -> None:
    assert parse_entry(data) == reread_entry(data)
    assert parse_entry(data).type == json.loads(data)["type"]
    assert parse_entry(data).form == json.loads(data)["v"]


K = "ab" * 32
BAD: dict[str, list[object]] = {
    "v": [0, 4, "2", True, 1.5, None],
    "type": ["other", 1, None, []],
    "time": [
        "2026-02-30T00:00:00Z",
        "2026-01-01T00:00:00+00:00",
        "2026-01-01 00:00:00Z",
        0,
        "２026-01-01T00:00:00Z",
    ],
    "work_order": ["", "-x", "a b", "a" * 65, 7, "é"],
    "number": [0, -1, 1.5, "1", True],
    "chip_id": ["", "a/b", "x" * 65],
    "certificate_serial": ["", "0", "AA", "00ff", "ab" * 21],
    "certificate_sha256": ["", "AB" * 32, "ab" * 31, "zz" * 32, None],
    "level": ["secret", "KEY", None],
    "method": ["", "HMAC", "x" * 33],
    "claims": [
        None,
        [],
        {},
        {"firmware": {}},
        {"firmware": {}, "security_state": {}, "more": {}},
        {"firmware": {"app": ["1.0", "00"]}, "security_state": {}},
        {"firmware": {"app": ["1.0"]}, "security_state": {}},
        {"firmware": {"app": ["one", "00" * 32]}, "security_state": {}},
        {"firmware": [], "security_state": {}},
        {"firmware": {}, "security_state": {"secure_boot": 1}},
    ],
    "measured": [None, [], {"app": 1}, {"a b": "1.0"}, {f"c{index}": "1" for index in range(65)}],
    "attester_sha256": ["", "00", 0],
    "station": ["birthmark://paper/auditor/x", "birthmark://paper/station/a", "https://x", None],
    "supersedes": ["", 0],
    "id": ["", "00" * 15, "00" * 17, "AB" * 16, 0, None],
    "anchors": [
        None,
        {},
        [["key", None]],
        [["key", None, K, K]],
        ["key"],
        [{"kind": "key"}],
        [["other", None, K]],
        [[None, None, K]],
        [["key", "", K]],
        [["key", K, K]],
        [["key", None, K.upper()]],
        [["key", None, K[2:]]],
        [["key", None, 7]],
        [["ueid", None, "01"]],
        [["ueid", K, ""]],
        [["ueid", K, "0"]],
        [["ueid", K, "01" * 257]],
        [["ueid", K.upper(), "01"]],
        [["ueid", 7, "01"]],
        [["serial", None, "S1"]],
        [["serial", K, ""]],
        [["serial", K, "S\n1"]],
        [["serial", K, "s" * 513]],
        [["personalized", K, "chip"]],
        [["personalized", None, "a/b"]],
        [["imported", K, "01"]],
        [["imported", None, "0g"]],
        [["key", None, K]] * 2,
        [["ueid", K, "01"], ["key", None, K]],
        [["serial", K, "2"], ["serial", K, "1"]],
        [["personalized", None, f"chip-{number:02}"] for number in range(33)],
    ],
    "certificate_name": ["", "a b", "x" * 33, None],
    "issuer": ["", "a b", 7, None],
    "versions": [
        None,
        [],
        {},
        {"signerd": "1.0"},
        {"signerd": None, "agent": "1.0"},
        {"signerd": "1.0", "agent": ""},
        {"signerd": "1.0", "agent": "a b"},
        {"signerd": "1" * 65, "agent": None},
        {"signerd": "1.0", "agent": None, "other": "1.0"},
    ],
}


@pytest.mark.parametrize(
    ("member", "value"), [(key, value) for key, values in BAD.items() for value in values]
)
def test_one_member_of_another_form_is_refused(member: str, value: object) -> None:
    with pytest.raises(CheckFailed, match=r"F202|F201"):
        parse_entry(rfc8785.dumps(ISSUED | {member: value}))


def test_members_of_form_2_have_no_place_in_form_1() -> None:
    for member in ISSUED.keys() - ISSUED_IN_FORM_1.keys():
        with pytest.raises(CheckFailed, match="F202"):
            parse_entry(rfc8785.dumps(ISSUED_IN_FORM_1 | {member: ISSUED[member]}))
    assert ISSUED.keys() - ISSUED_IN_FORM_1.keys() == {"id", "anchors", "certificate_name", "versions"}
    for form, issued in ((2, ISSUED_IN_FORM_1), (1, ISSUED)):
        with pytest.raises(CheckFailed, match="F202"):
            parse_entry(rfc8785.dumps(issued | {"v": form}))


def test_members_of_form_3_have_no_place_in_form_2() -> None:
    said = ISSUED | {"v": 3, "issuer": "main"}
    assert getattr(parse_entry(rfc8785.dumps(said)), "issuer", None) == "main"
    with pytest.raises(CheckFailed, match="F202"):
        parse_entry(rfc8785.dumps(said | {"v": 2}))


def test_what_form_1_does_not_say_is_none() -> None:
    read = parse_entry(rfc8785.dumps(ISSUED_IN_FORM_1))
    assert isinstance(read, Issued)
    assert (read.id, read.anchors, read.certificate_name, read.versions) == (None, None, None, None)


def test_every_kind_of_anchor_is_read_in_its_order() -> None:
    anchors = [
        ["imported", None, "01" * 256],
        ["key", None, K],
        ["personalized", None, "chip:1"],
        ["serial", K, "EUI:1 S:SE0 ID:MCU é"],
        ["ueid", K, "01"],
        ["ueid", "cd" * 32, "01"],
    ]
    read = parse_entry(rfc8785.dumps(ISSUED | {"anchors": anchors}))
    assert isinstance(read, Issued)
    assert read.anchors is not None
    assert [[one.kind, one.issuer or None, one.value] for one in read.anchors] == anchors


SSH_KEY = SshSigner.ed25519().public_text
OTHERS: dict[str, dict[str, Any]] = {
    "chips_personalized": {
        "count": 1, "again": 0, "chips_sha256": "00" * 32, "locked": True, "site": "lab",
        "key": "psa-iak-sha384", "by": "carol@example",
    },
    "identities_imported": {
        "product": "sensor", "method": "tpm2", "count": 1, "identities_sha256": "00" * 32, "by": "carol",
    },
    "keys_committed": {
        "checkpoint": "sealed", "chip_master": "sealed", "chip_master_commitment": "00" * 32,
        "recipients": ["00" * 32], "by": "carol",
    },
    "station_renewed": {
        "peer": "birthmark://example/station/plant1/pc1", "spki_sha256": "00" * 32,
        "not_after": "2029-02-03T00:00:00Z", "by": "carol",
    },
    "auditor_renewed": {
        "peer": "birthmark://example/auditor/alice", "spki_sha256": "00" * 32,
        "not_after": "2029-02-03T00:00:00Z", "by": None,
    },
    "renewal_chosen": {
        "peer": "birthmark://example/station/plant1/pc1", "automatic": True, "by": "carol",
    },
    "operations_ca_added": {"ca_sha256": "00" * 32, "not_after": "2046-11-01T00:00:00Z", "by": "carol"},
    "operations_ca_activated": {"ca_sha256": "00" * 32, "by": "carol"},
    "operations_ca_retired": {"ca_sha256": "00" * 32, "by": None},
    "checkpoint_key_added": {
        "vkey": "log+00000000+AQ==", "place": "sealed", "recipients": ["00" * 32], "by": None,
    },
    "checkpoint_key_activated": {"vkey": "log+00000000+AQ==", "checkpoint": "log\n1\n", "by": "carol"},
    "checkpoint_key_retired": {"vkey": "log+00000000+AQ==", "reason": "lost", "by": "carol"},
    "administrators_set": {
        "threshold": 1, "by": None,
        "administrators": [{"name": "ann", "key": SSH_KEY, "verify_required": False}],
    },
    "action_approved": {
        "action": "revoked", "request": "00" * 16, "part": 0, "statement": "…", "by": "ann",
        "signatures": [{"administrator": "ann", "sshsig": "U1NIU0lH", "counter": None}],
    },
    "order_closed": {"work_order": "WO-1", "by": None},
    "share_given": {"work_order": "WO-1", "giver": "main", "taker": "spare", "places": 5, "by": "ann"},
    "clock_accepted": {
        "clock_from": "2026-11-01T00:00:00Z", "clock_to": "2026-11-01T00:00:00Z", "by": "carol",
    },
    "shared_primes_found": {"count": 1, "certificates": ["00" * 32]},
}  # fmt: skip


_ADMINISTRATOR = {"name": "ann", "key": SSH_KEY, "verify_required": False}


def _other(kind: str, **changes: Any) -> bytes:
    common: dict[str, Any] = {"v": 3, "id": "00" * 16, "type": kind, "time": "2026-11-01T00:00:00Z"}
    return rfc8785.dumps(common | OTHERS[kind] | changes)


@pytest.mark.parametrize(
    ("kind", "member", "value"),
    [
        ("administrators_set", "threshold", -1),
        ("administrators_set", "administrators", {}),
        ("administrators_set", "administrators", [{"name": "ann", "key": SSH_KEY}]),
        *(
            ("administrators_set", "administrators", [{**_ADMINISTRATOR, member: value}])
            for member, value in (
                ("name", "a b"),
                ("key", ""),
                ("key", "ssh-dss AAAA"),
                ("key", SSH_KEY + " x"),
                ("key", SSH_KEY[:-4]),
                ("verify_required", 0),
            )
        ),
        ("administrators_set", "administrators", [_ADMINISTRATOR] * 2),
        ("administrators_set", "administrators", [_ADMINISTRATOR] * 17),
        ("action_approved", "request", "00" * 15),
        ("action_approved", "statement", None),
        ("action_approved", "signatures", []),
        ("action_approved", "signatures", [{"administrator": "ann", "sshsig": "U1NIU0lH"}]),
        ("action_approved", "signatures", [{"administrator": "ann", "sshsig": "!", "counter": None}]),
        ("action_approved", "signatures", [{"administrator": "ann", "sshsig": "U1NIU0lH", "counter": -1}]),
        ("action_approved", "signatures", [{"administrator": "a b", "sshsig": "U1NIU0lH", "counter": None}]),
        ("station_renewed", "peer", "birthmark://example/auditor/alice"),
        ("station_renewed", "not_after", None),
        ("station_renewed", "spki_sha256", "00" * 31),
        ("auditor_renewed", "peer", "birthmark://example/station/plant1/pc1"),
        ("renewal_chosen", "peer", None),
        ("renewal_chosen", "automatic", "yes"),
        ("operations_ca_added", "ca_sha256", "00" * 31),
        ("operations_ca_added", "not_after", None),
        ("operations_ca_activated", "ca_sha256", None),
        ("operations_ca_retired", "ca_sha256", "AA" * 32),
        ("checkpoint_key_added", "vkey", "with a blank"),
        ("checkpoint_key_added", "place", "none"),
        ("checkpoint_key_added", "recipients", ["00" * 31]),
        ("checkpoint_key_activated", "checkpoint", ""),
        ("checkpoint_key_activated", "checkpoint", "a\tb"),
        ("checkpoint_key_activated", "checkpoint", "a" * 4097),
        ("checkpoint_key_retired", "reason", "unspecified"),
        ("chips_personalized", "key", "other"),
        ("chips_personalized", "again", -1),
        ("chips_personalized", "by", ""),
        ("chips_personalized", "by", None),
        ("identities_imported", "by", None),
        ("clock_accepted", "by", None),
        ("order_closed", "by", ""),
        ("order_closed", "by", "a b"),
        ("order_closed", "by", "x" * 65),
        ("share_given", "places", 0),
        ("share_given", "taker", "a b"),
        ("share_given", "giver", None),
        ("chips_personalized", "by", "a b"),
        ("identities_imported", "method", "x509"),
        ("identities_imported", "by", "x" * 65),
        ("identities_imported", "count", -1),
        ("keys_committed", "checkpoint", "none"),
        ("keys_committed", "chip_master", "elsewhere"),
        ("keys_committed", "chip_master_commitment", "00" * 31),
        ("keys_committed", "recipients", ["00" * 32] * 2),
        ("keys_committed", "recipients", [f"{number:064x}" for number in range(9)]),
        ("keys_committed", "recipients", None),
        ("shared_primes_found", "count", 0),
        ("shared_primes_found", "certificates", []),
        ("shared_primes_found", "certificates", ["00" * 31]),
        ("shared_primes_found", "certificates", ["00" * 32] * 2),
        ("shared_primes_found", "certificates", [f"{number:064x}" for number in range(501)]),
    ],
)
def test_members_of_other_entries(kind: str, member: str, value: object) -> None:
    assert parse_entry(_other(kind)).type == kind
    with pytest.raises(CheckFailed, match="F202"):
        parse_entry(_other(kind, **{member: value}))


@pytest.mark.parametrize("member", ISSUED)
def test_a_missing_member_is_refused(member: str) -> None:
    with pytest.raises(CheckFailed, match="F202"):
        parse_entry(rfc8785.dumps({key: value for key, value in ISSUED.items() if key != member}))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b" " + data,
        lambda data: data + b"\n",
        lambda data: data.replace(b":", b": ", 1),
        lambda data: data.replace(b'"v":3', b'"v":3.0'),
        lambda data: data.replace(b'"v":3', b'"v":3,"v":3'),
        lambda data: data.replace(b"issued", b"iss\\u0075ed"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b"issued", b"\xff"),
        lambda data: data.replace(b'"issued"', b'"\\ud800"'),
        lambda _: b"[" * 30_000,
        lambda _: b"NaN",
        lambda _: b"",
    ],
)  # fmt: skip
def test_another_encoding_is_refused(change: Any) -> None:
    with pytest.raises(CheckFailed, match="F201"):
        parse_entry(change(rfc8785.dumps(ISSUED)))


def test_the_bound_is_65535_bytes() -> None:
    with pytest.raises(CheckFailed, match="F201"):
        parse_entry(b" " * 65_535)
    with pytest.raises(CheckFailed, match="F203"):
        parse_entry(b" " * 65_536)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(ISSUED)), JSON), st.binary(max_size=50))
def test_any_values_raise_nothing_else(changes: dict[str, object], junk: bytes) -> None:
    for data in (json.dumps(ISSUED | changes).encode(), junk):
        with contextlib.suppress(CheckFailed):
            assert isinstance(parse_entry(data), Issued)


@pytest.mark.parametrize(
    "data",
    [
        "1800",  # 0 in two bytes
        "bf6161016162 02ff",  # indefinite map
        "a2616201616102",  # keys in the wrong order
        "a2616101616102",  # the same key twice
        "a10102",  # a key that is not text
        "c074323031332d30332d32315432303a30343a30305a",  # a tag
        "c249010000000000000000",  # a bignum
        "f93c00",  # a float
        "f7",  # undefined
        "0000",  # two items
        "61ff",  # text that is not UTF-8
        "9bffffffffffffffff",  # an array without end
        "d81c81d81d00",  # a cycle
        "",
        "82d81c8101d81d00",  # a shared value
        "d9010082616100",  # a string reference
    ],
)
def test_cbor_outside_the_subset_is_refused(data: str) -> None:
    with pytest.raises(Malformed):
        cbor.decode(bytes.fromhex(data), maximum=100)


def test_cbor_is_bounded_in_size_and_depth() -> None:
    with pytest.raises(Malformed):
        cbor.decode(b"\x00" * 2, maximum=1)
    with pytest.raises(Malformed):
        cbor.decode(b"\x81" * 4000 + b"\x00", maximum=5000)


@given(st.binary(max_size=200))
def test_any_bytes_of_cbor_raise_malformed_alone(data: bytes) -> None:
    for parse in (
        lambda: cbor.decode(data, maximum=300),
        lambda: parse_claims(data),
        lambda: split_settings(data),
    ):
        with contextlib.suppress(Malformed):
            parse()
    with pytest.raises(Malformed):
        parse_stamp(data)


CLAIMS = cbor2.dumps([FIRMWARE, LOCKS], canonical=True)


def test_claims_and_their_minimum() -> None:
    claims = parse_claims(CLAIMS)
    check_minimum(claims.versions, {"app": "1.2"})
    for minimum in ({"app": "1.2.0.1"}, {"boot": "0"}):
        with pytest.raises(CheckFailed, match="F423"):
            check_minimum(claims.versions, minimum)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [FIRMWARE],
        [FIRMWARE, LOCKS, 0],
        [{"app": ["1.0", bytes(31)]}, LOCKS],
        [{"app": ["one", bytes(32)]}, LOCKS],
        [{"app": [1, bytes(32)]}, LOCKS],
        [{"a b": ["1.0", bytes(32)]}, LOCKS],
        [{f"c{index}": ["1", bytes(32)] for index in range(17)}, LOCKS],
        [FIRMWARE, {"secure_boot": 1}],
    ],
)
def test_claims_of_another_form_are_refused(value: object) -> None:
    with pytest.raises(Malformed):
        parse_claims(cbor2.dumps(value, canonical=True))


def test_versions_sort_as_the_formats_say() -> None:
    ascending = ["0", "1.0-a", "1.0-rc1", "1", "1.0.1", "1.2", "1.10", "2.0.0.0", "4294967295"]
    assert sorted(ascending, key=forms.version_key) == ascending
    assert forms.version_key("1") == forms.version_key("1.0.0.0")
    for text in ("", "1.", "1.2.3.4.5", "4294967296", "v1", "1-", "1.0-" + "x" * 32, 1):
        with pytest.raises(Malformed):
            forms.version_key(text)


def test_serial_patterns() -> None:
    assert forms.render_serial(forms.serial_pattern("BM-{number:06d}-x"), 12) == "BM-000012-x"
    assert forms.render_serial(forms.serial_pattern("{number}"), 12) == "12"
    for text in ("BM", "{number}{number}", "{number:x}", "{number:6d}", "{other}", "{number", "x" * 200, 1):
        with pytest.raises(Malformed):
            forms.serial_pattern(text)


def test_the_transcript_is_the_one_of_the_formats() -> None:
    claims = parse_claims(CLAIMS)
    csr_sha256 = sha256(b"csr").digest()
    data = transcript(challenge=bytes(32), chip_id="chip-1", csr_sha256=csr_sha256, claims=claims)
    expected = ["birthmark-evidence-v1", bytes(32), "chip-1", csr_sha256, FIRMWARE, LOCKS]
    assert data == cbor2.dumps(expected, canonical=True)


def test_settings_are_split() -> None:
    data = cbor2.dumps({"serial": "BM-1", "endpoint": "x"}, canonical=True)
    assert split_settings(data) == ("BM-1", cbor2.dumps({"endpoint": "x"}))
    values: tuple[object, ...] = ({"endpoint": "x"}, {"serial": 1}, [])
    for value in values:
        with pytest.raises(Malformed):
            split_settings(cbor2.dumps(value, canonical=True))
