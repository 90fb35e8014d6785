"""What a PKCS#11 module answers, in the words of the standard, and what to do about it: one table for all.

    >>> described(PinIncorrect())
    'CKR_PIN_INCORRECT: the PIN is wrong; correct it before anything is tried again'

Every error of a module arrives with its name, known to the vendor's documentation and support; those that
operators meet also with a remedy. Nothing here loads PKCS#11: python-pkcs11's exceptions are told by name.
"""

from __future__ import annotations

import re

# python-pkcs11 spells some names in another way than PKCS #11 v3.1, section 6.
_SPELLED = {
    "FunctionCancelled": "CKR_FUNCTION_CANCELED",
    "AnotherUserAlreadyLoggedIn": "CKR_USER_ANOTHER_ALREADY_LOGGED_IN",
    "RandomNoRNG": "CKR_RANDOM_NO_RNG",
    "SessionReadWriteSOExists": "CKR_SESSION_READ_WRITE_SO_EXISTS",
    "TokenNotRecognised": "CKR_TOKEN_NOT_RECOGNIZED",
}
# Its own, which no module answered.
_OWN = {
    "ExceededMaxIterations": "the module lists objects without end; ask its vendor",
    "MultipleObjectsReturned": "several keys have this name: rename all but one with the vendor's tool",
    "MultipleTokensReturned": "several tokens have this name: name one by its serial number",
    "NoSuchKey": "the token holds no key of this name; `signerd token probe` lists those that it holds",
    "NoSuchToken": "no slot has such a token; `signerd token probe` lists those that there are",
}
_UNMAPPED = re.compile(r"Unmapped error code (0x[0-9a-f]+)")
_BY_NUMBER = {
    0x09: "CKR_NEED_TO_CREATE_THREADS",
    0x0A: "CKR_CANT_LOCK",
    0x1B: "CKR_ACTION_PROHIBITED",
    0x140: "CKR_CURVE_NOT_SUPPORTED",
    0x150: "CKR_BUFFER_TOO_SMALL",
    0x160: "CKR_SAVED_STATE_INVALID",
    0x170: "CKR_INFORMATION_SENSITIVE",
    0x180: "CKR_STATE_UNSAVEABLE",
    0x190: "CKR_CRYPTOKI_NOT_INITIALIZED",
    0x191: "CKR_CRYPTOKI_ALREADY_INITIALIZED",
    0x1A0: "CKR_MUTEX_BAD",
    0x1A1: "CKR_MUTEX_NOT_LOCKED",
    0x200: "CKR_FUNCTION_REJECTED",
    0x201: "CKR_TOKEN_RESOURCE_EXCEEDED",
    0x202: "CKR_OPERATION_CANCEL_FAILED",
}
_VENDOR_DEFINED = 0x80000000
_TEMPLATE = "the module does not take the key's attributes: make the key with the vendor's tool"
_LOST = "the session is gone, as when a token was idle, reset or pulled; the next start opens a new one"
_REMEDIES = {
    "CKR_ATTRIBUTE_TYPE_INVALID": _TEMPLATE,
    "CKR_ATTRIBUTE_VALUE_INVALID": _TEMPLATE,
    "CKR_ATTRIBUTE_READ_ONLY": _TEMPLATE,
    "CKR_TEMPLATE_INCOMPLETE": _TEMPLATE,
    "CKR_TEMPLATE_INCONSISTENT": _TEMPLATE,
    "CKR_ARGUMENTS_BAD": "the module wants another call, or more of its environment (--hsm-env)",
    "CKR_CRYPTOKI_NOT_INITIALIZED": "the module was ended by its other side; the next start begins anew",
    "CKR_CURVE_NOT_SUPPORTED": "the token has no such curve: use --key-type p256 or p384, as it has",
    "CKR_DEVICE_ERROR": "the token or its driver failed: look at cable, reader, service and the vendor's log",
    "CKR_DEVICE_MEMORY": "the token is full: remove keys that nothing needs, or take another one",
    "CKR_DEVICE_REMOVED": "the token was taken out: put it back",
    "CKR_FUNCTION_FAILED": "the token refused without a reason; the vendor's log may have one",
    "CKR_FUNCTION_NOT_SUPPORTED": "the module cannot do this at all; `signerd token probe` shows what it can",
    "CKR_GENERAL_ERROR": "the module failed; often its service, socket or environment (--hsm-env) is missing",
    "CKR_HOST_MEMORY": "this machine gave the module no memory",
    "CKR_KEY_FUNCTION_NOT_PERMITTED": "the key is made for another use: make one for signing",
    "CKR_KEY_SIZE_RANGE": "the token has no keys of this size; `signerd token probe` shows its sizes",
    "CKR_KEY_TYPE_INCONSISTENT": "the key is of another type than the settings say",
    "CKR_MECHANISM_INVALID": "the token cannot do this; `signerd token probe` shows what it can",
    "CKR_MECHANISM_PARAM_INVALID": "the token takes other parameters for this mechanism",
    "CKR_PIN_EXPIRED": "the PIN has expired: set a new one with the vendor's tool",
    "CKR_PIN_INCORRECT": "the PIN is wrong; correct it before anything is tried again",
    "CKR_PIN_INVALID": "the PIN has characters that the token does not take",
    "CKR_PIN_LEN_RANGE": "the PIN is too short or too long for this token",
    "CKR_PIN_LOCKED": "the PIN is locked: unlock it with the vendor's tool and the PUK or SO PIN",
    "CKR_PIN_TOO_WEAK": "the token wants a stronger PIN",
    "CKR_SESSION_CLOSED": _LOST,
    "CKR_SESSION_HANDLE_INVALID": _LOST,
    "CKR_SESSION_COUNT": "no session is free: end other programs that use it, or lower hsm.key_holders",
    "CKR_SESSION_READ_ONLY": "keys are made in a session that may write",
    "CKR_SLOT_ID_INVALID": "the slot is gone: was the reader unplugged?",
    "CKR_TOKEN_NOT_PRESENT": "there is no token in the slot: put it in",
    "CKR_TOKEN_NOT_RECOGNIZED": "the slot holds something that the module does not know",
    "CKR_TOKEN_WRITE_PROTECTED": "the token takes no new keys; some want the officer's login for that",
    "CKR_USER_ALREADY_LOGGED_IN": "another session of this process has logged in",
    "CKR_USER_ANOTHER_ALREADY_LOGGED_IN": "the security officer is logged in: end that program first",
    "CKR_USER_NOT_LOGGED_IN": "the token wants a login for this, perhaps before each use",
    "CKR_USER_PIN_NOT_INITIALIZED": "the token has no user PIN yet: set one with the vendor's tool",
    "CKR_USER_TYPE_INVALID": "the token has no PIN of this kind",
}


def described(error: BaseException) -> str:
    """The name of what a module answered, or python-pkcs11 found; with the remedy where there is one."""
    kind = type(error).__name__
    if kind in _OWN:
        return f"{kind}: {_OWN[kind]}"
    name = _name(kind, str(error))
    remedy = _REMEDIES.get(name)
    return f"{name}: {remedy}" if remedy else name


def _name(kind: str, text: str) -> str:
    if unmapped := _UNMAPPED.search(text):
        number = int(unmapped[1], 16)
        vendors = "CKR_VENDOR_DEFINED" if number >= _VENDOR_DEFINED else "CKR"
        return _BY_NUMBER.get(number, f"{vendors} {number:#010x}")
    if kind == "PKCS11Error":  # the loader's words, and other things that no module answered
        return text
    if kind in _SPELLED:
        return _SPELLED[kind]
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z][a-z]*|[A-Z]+", kind)
    return f"CKR_{'_'.join(words).upper()}"
