"""Certificates and CSRs, as far as the lying records do not reach them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.core.certificate import Issuer, check_agrees, read_leaf, verify_issuer
from auditor.core.csr import check_csr
from auditor.core.entry import Issued, OrderOpened, parse_entry
from auditor.errors import CheckFailed
from harness.audit_bench import small
from harness.paper_certificates import Authority, csr, der, new_key, spki

VECTOR = Path(__file__).parents[2] / "vectors" / "csr" / "mbedtls-2.28-null-params.der"
LOG = small()


def _issuer() -> Issuer:
    return verify_issuer([der(LOG.issuer.certificate)], LOG.root.certificate)


ISSUER = _issuer()
LEAF = LOG.records[0].certificate_der


def test_a_csr_of_mbed_tls_is_read_as_it_is() -> None:
    data = VECTOR.read_bytes()
    body = data[data.index(b"\x30\x59\x30\x13") :]  # SubjectPublicKeyInfo of a P-256 key: 91 bytes
    key = body[:91]
    check_csr(data, key)
    with pytest.raises(CheckFailed, match="another key"):
        check_csr(data, spki(new_key()))
    with pytest.raises(CheckFailed, match="F421"):
        check_csr(data + b"\x00", key)
    with pytest.raises(CheckFailed, match="F421"):
        check_csr(data[:40] + bytes([data[40] ^ 1]) + data[41:], key)


def test_a_csr_signed_by_another_key_is_refused() -> None:
    key = new_key()
    data = csr(key)
    check_csr(data, spki(key))
    with pytest.raises(CheckFailed, match="F421"):
        check_csr(data[:-1] + bytes([data[-1] ^ 1]), spki(key))


def test_a_leaf_of_the_issuer_is_read() -> None:
    assert sha256(read_leaf(LEAF, ISSUER).der).hexdigest() == sha256(LEAF).hexdigest()


@pytest.mark.parametrize(("backdate_s", "holds"), [(0, False), (3599, False), (3600, True), (86_400, True)])
def test_a_backdated_certificate_may_begin_before_its_orders_window(backdate_s: int, holds: bool) -> None:
    leaf = read_leaf(LEAF, ISSUER)
    issued, order = parse_entry(LOG.entries[5]), parse_entry(LOG.entries[4])
    assert isinstance(issued, Issued)
    assert isinstance(order, OrderOpened)
    late = replace(order, not_before=leaf.certificate.not_valid_before_utc + timedelta(hours=1))
    late_entry = replace(issued, time=late.not_before)
    check_agrees(leaf, issued, order, timedelta(0))
    if holds:
        check_agrees(leaf, late_entry, late, timedelta(seconds=backdate_s))
        return
    with pytest.raises(CheckFailed, match="F413"):
        check_agrees(leaf, late_entry, late, timedelta(seconds=backdate_s))


def test_a_leaf_of_an_issuer_of_the_same_name_is_refused() -> None:
    other = Authority.root("Paper Root").subordinate("Paper Sub-CA")
    with pytest.raises(CheckFailed, match="F411"):
        read_leaf(der(other.leaf(new_key(), name="x", serial=1)), ISSUER)


@given(st.integers(0, len(LEAF) - 1), st.integers(1, 255))
def test_any_changed_byte_of_a_certificate_is_refused(position: int, change: int) -> None:
    data = bytearray(LEAF)
    data[position] ^= change
    with pytest.raises(CheckFailed):
        read_leaf(bytes(data), ISSUER)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CheckFailed):
        read_leaf(data, ISSUER)
    with pytest.raises(CheckFailed):
        check_csr(data, b"")
    with pytest.raises(CheckFailed):
        check_csr(b"\x30" + data, b"")
