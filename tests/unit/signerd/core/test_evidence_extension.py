"""What a certificate says of its evidence: one encoding for each statement, and no other is read."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signerd.core.evidence import METHODS
from signerd.core.evidence_extension import EvidenceExtensionError, EvidenceStatement, parse
from signerd.core.names import Level

STATEMENT = EvidenceStatement.about(Level.KEY, "psa-token", b"evidence")
DER = STATEMENT.encode()


def test_the_bytes_are_those_of_the_page() -> None:
    digest = hashlib.sha256(b"evidence").hexdigest()
    parts = (
        "3035",  # SEQUENCE of 53 octets
        "020101",  # version 1
        "0c03" + b"key".hex(),
        "0c09" + b"psa-token".hex(),
        "0420" + digest,
    )
    expected = bytes.fromhex("".join(parts))
    assert expected[1] == len(expected) - 2
    assert expected == DER


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("method", METHODS)
def test_each_level_and_method_is_read_as_written(level: Level, method: str) -> None:
    statement = EvidenceStatement.about(level, method, b"")
    assert parse(statement.encode()) == statement


def test_any_one_changed_byte_is_another_statement_or_none() -> None:
    for position in range(len(DER)):
        for value in range(256):
            if value == DER[position]:
                continue
            changed = DER[:position] + bytes((value,)) + DER[position + 1 :]
            try:
                found = parse(changed)
            except EvidenceExtensionError:
                continue
            assert found.evidence_sha256 != STATEMENT.evidence_sha256
            assert (found.level, found.method) == (STATEMENT.level, STATEMENT.method)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(DER[:-1], id="cut"),
        pytest.param(DER + b"\x00", id="bytes after it"),
        pytest.param(b"\x30\x81" + DER[1:], id="length in long form"),
        pytest.param(b"\x30\x80" + DER[2:] + b"\x00\x00", id="indefinite length"),
        pytest.param(DER.replace(b"\x02\x01\x01", b"\x02\x01\x02"), id="version 2"),
        pytest.param(DER.replace(b"\x02\x01\x01", b""), id="no version"),
        pytest.param(DER.replace(b"key", b"KEY"), id="level in capitals"),
        pytest.param(DER.replace(b"psa-token", b"psa_token"), id="unknown method"),
        pytest.param(DER.replace(b"\x0c\x03", b"\x13\x03"), id="level as PrintableString"),
        pytest.param(b"\x30\x34" + DER[2:-34] + b"\x04\x1f" + DER[-31:], id="digest of 31 bytes"),
        pytest.param(b"\x30\x36" + DER[2:-34] + b"\x04\x21" + DER[-32:] + b"\x00", id="digest of 33 bytes"),
        pytest.param(b"\x30\x37" + DER[2:] + b"\x05\x00", id="another member"),
        pytest.param(b"\x31" + DER[1:], id="a SET"),
        pytest.param(DER.replace(b"\x0c\x03key", b"\x0c\x03k\xffy"), id="level is no UTF-8"),
    ],
)
def test_nothing_else_is_read(wrong: bytes) -> None:
    assert wrong != DER
    with pytest.raises(EvidenceExtensionError):
        parse(wrong)


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        statement = parse(data)
    except EvidenceExtensionError:
        return
    assert statement.encode() == data


@pytest.mark.parametrize(
    "statement",
    [
        EvidenceStatement(Level.KEY, "magic", bytes(32)),
        EvidenceStatement(Level.KEY, "none", bytes(31)),
    ],
)
def test_a_statement_that_could_not_be_read_is_not_written(statement: EvidenceStatement) -> None:
    with pytest.raises(EvidenceExtensionError):
        statement.encode()
