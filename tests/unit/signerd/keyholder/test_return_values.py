"""Errors of PKCS#11 modules have the standard's names, and remedies."""

from __future__ import annotations

import inspect

import pytest
from pkcs11 import exceptions

from signerd.adapters.keyholder.return_values import described

# PKCS #11 v3.1, section 6.1 and `pkcs11t.h`.
_NAMES = """
CANCEL HOST_MEMORY SLOT_ID_INVALID GENERAL_ERROR FUNCTION_FAILED ARGUMENTS_BAD NO_EVENT NEED_TO_CREATE_THREADS
CANT_LOCK ATTRIBUTE_READ_ONLY ATTRIBUTE_SENSITIVE ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID
ACTION_PROHIBITED DATA_INVALID DATA_LEN_RANGE DEVICE_ERROR DEVICE_MEMORY DEVICE_REMOVED ENCRYPTED_DATA_INVALID
ENCRYPTED_DATA_LEN_RANGE FUNCTION_CANCELED FUNCTION_NOT_PARALLEL FUNCTION_NOT_SUPPORTED KEY_HANDLE_INVALID
KEY_SIZE_RANGE KEY_TYPE_INCONSISTENT KEY_NOT_NEEDED KEY_CHANGED KEY_NEEDED KEY_INDIGESTIBLE
KEY_FUNCTION_NOT_PERMITTED KEY_NOT_WRAPPABLE KEY_UNEXTRACTABLE MECHANISM_INVALID MECHANISM_PARAM_INVALID
OBJECT_HANDLE_INVALID OPERATION_ACTIVE OPERATION_NOT_INITIALIZED PIN_INCORRECT PIN_INVALID PIN_LEN_RANGE
PIN_EXPIRED PIN_LOCKED SESSION_CLOSED SESSION_COUNT SESSION_HANDLE_INVALID SESSION_PARALLEL_NOT_SUPPORTED
SESSION_READ_ONLY SESSION_EXISTS SESSION_READ_ONLY_EXISTS SESSION_READ_WRITE_SO_EXISTS SIGNATURE_INVALID
SIGNATURE_LEN_RANGE TEMPLATE_INCOMPLETE TEMPLATE_INCONSISTENT TOKEN_NOT_PRESENT TOKEN_NOT_RECOGNIZED
TOKEN_WRITE_PROTECTED UNWRAPPING_KEY_HANDLE_INVALID UNWRAPPING_KEY_SIZE_RANGE
UNWRAPPING_KEY_TYPE_INCONSISTENT USER_ALREADY_LOGGED_IN USER_NOT_LOGGED_IN USER_PIN_NOT_INITIALIZED
USER_TYPE_INVALID USER_ANOTHER_ALREADY_LOGGED_IN USER_TOO_MANY_TYPES WRAPPED_KEY_INVALID WRAPPED_KEY_LEN_RANGE
WRAPPING_KEY_HANDLE_INVALID WRAPPING_KEY_SIZE_RANGE WRAPPING_KEY_TYPE_INCONSISTENT RANDOM_SEED_NOT_SUPPORTED
RANDOM_NO_RNG DOMAIN_PARAMS_INVALID CURVE_NOT_SUPPORTED BUFFER_TOO_SMALL SAVED_STATE_INVALID
INFORMATION_SENSITIVE STATE_UNSAVEABLE CRYPTOKI_NOT_INITIALIZED CRYPTOKI_ALREADY_INITIALIZED MUTEX_BAD
MUTEX_NOT_LOCKED NEW_PIN_MODE NEXT_OTP EXCEEDED_MAX_ITERATIONS FIPS_SELF_TEST_FAILED LIBRARY_LOAD_FAILED
PIN_TOO_WEAK PUBLIC_KEY_INVALID FUNCTION_REJECTED TOKEN_RESOURCE_EXCEEDED OPERATION_CANCEL_FAILED
"""
STANDARD = frozenset(_NAMES.split())
# Made by python-pkcs11, not by a module.
OWN = {
    "NoSuchKey",
    "NoSuchToken",
    "MultipleObjectsReturned",
    "MultipleTokensReturned",
    "ExceededMaxIterations",
}
KINDS = [
    kind
    for kind in vars(exceptions).values()
    if inspect.isclass(kind) and kind is not exceptions.PKCS11Error and kind.__name__ not in OWN
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_error_has_the_standards_name(kind: type[Exception]) -> None:
    assert described(kind()).partition(":")[0].removeprefix("CKR_") in STANDARD


def test_what_no_module_answered_is_said_as_it_is() -> None:
    assert described(exceptions.PKCS11Error("x.so: invalid ELF header")) == "x.so: invalid ELF header"


def test_the_ones_that_operators_meet_have_a_remedy() -> None:
    assert described(exceptions.PinLocked()).startswith("CKR_PIN_LOCKED: the PIN is locked: unlock it")
    assert "put it back" in described(exceptions.DeviceRemoved())
    assert "signerd token probe" in described(exceptions.NoSuchKey())


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("0x190", "CKR_CRYPTOKI_NOT_INITIALIZED: the module was ended"),
        ("0x140", "CKR_CURVE_NOT_SUPPORTED: the token has no such curve"),
        ("0x80000001", "CKR_VENDOR_DEFINED 0x80000001"),
        ("0x7777", "CKR 0x00007777"),
    ],
)
def test_numbers_that_the_library_does_not_know(number: str, said: str) -> None:
    assert described(exceptions.PKCS11Error(f"Unmapped error code {number}")).startswith(said)
