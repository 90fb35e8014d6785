from __future__ import annotations

import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from harness.rsa_keys import constant_rsa_key
from signerd.core.csr import check_csr
from signerd.core.names import KeyType
from signerd.errors import Code, Refused


def test_a_key_type_that_the_product_does_not_accept_costs_no_check_of_quality(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = builder.sign(constant_rsa_key(2048), hashes.SHA256()).public_bytes(Encoding.DER)
    monkeypatch.setitem(sys.modules, "badkeys.checks", None)  # importing it is an ImportError now
    with pytest.raises(Refused) as refusal:
        check_csr(csr, accepted=(KeyType.P256,))
    assert refusal.value.code is Code.KEY_REJECTED
    with pytest.raises(ImportError):
        check_csr(csr, accepted=(KeyType.RSA2048,))
