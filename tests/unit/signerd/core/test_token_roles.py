"""Which of signerd's keys a token can hold."""

from __future__ import annotations

import pytest

from signerd.core.token_roles import Flags, Where, roles

SOFTHSM: Flags = {
    "ECDSA": frozenset({"SIGN", "VERIFY"}),
    "EC_KEY_PAIR_GEN": frozenset({"GENERATE_KEY_PAIR"}),
    "EDDSA": frozenset({"SIGN", "VERIFY"}),
    "EC_EDWARDS_KEY_PAIR_GEN": frozenset({"GENERATE_KEY_PAIR"}),
    "SHA256_HMAC": frozenset({"SIGN", "VERIFY"}),
    "GENERIC_SECRET_KEY_GEN": frozenset({"GENERATE"}),
    "SHA256_RSA_PKCS": frozenset({"SIGN"}),
    "RSA_PKCS_OAEP": frozenset({"DECRYPT"}),
    "RSA_PKCS_KEY_PAIR_GEN": frozenset({"GENERATE_KEY_PAIR"}),
    "ECDH1_DERIVE": frozenset({"DERIVE"}),
}


def _where(flags: Flags) -> dict[str, Where]:
    return {each.role: each.where for each in roles(flags)}


def _without(*names: str) -> Flags:
    return {name: value for name, value in SOFTHSM.items() if name not in names}


def test_a_token_that_has_all_holds_all() -> None:
    assert set(_where(SOFTHSM).values()) == {Where.TOKEN}


def test_what_it_cannot_hold_is_sealed() -> None:
    found = {each.role: each for each in roles(_without("EDDSA", "SHA256_HMAC"))}
    assert found["checkpoint"].where is found["chip master"].where is Where.SEALED
    assert found["sealing, ECDH"].used_by == "ECDH1_DERIVE"


def test_without_ecdh_it_is_sealed_to_an_rsa_key() -> None:
    where = _where(_without("EDDSA", "ECDH1_DERIVE"))
    assert where["checkpoint"] is Where.SEALED
    assert where["sealing, ECDH"] is Where.NOWHERE
    assert where["chip master"] is where["sealing, RSA"] is Where.TOKEN


def test_what_opens_nothing_leaves_no_place_for_it() -> None:
    where = _where(_without("EDDSA", "ECDH1_DERIVE", "RSA_PKCS_OAEP"))
    assert where["checkpoint"] is where["sealing, ECDH"] is where["sealing, RSA"] is Where.NOWHERE


def test_the_sub_ca_is_never_sealed() -> None:
    where = _where(_without("ECDSA", "SHA256_RSA_PKCS"))
    assert where["sub-CA, EC"] is where["sub-CA, RSA"] is Where.NOWHERE


def test_a_mechanism_that_only_verifies_signs_nothing() -> None:
    flags = {**SOFTHSM, "EDDSA": frozenset({"VERIFY"})}
    assert _where(flags)["checkpoint"] is Where.SEALED


@pytest.mark.parametrize("name", ["EC_KEY_PAIR_GEN", "GENERIC_SECRET_KEY_GEN"])
def test_a_key_that_the_module_cannot_make_is_for_the_vendors_tool(name: str) -> None:
    role = {"EC_KEY_PAIR_GEN": "sub-CA, EC", "GENERIC_SECRET_KEY_GEN": "chip master"}[name]
    (found,) = (each for each in roles(_without(name)) if each.role == role)
    assert (found.where, found.made_by) == (Where.TOKEN, "")
