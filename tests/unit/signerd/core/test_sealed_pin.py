"""The file of a PIN that is sealed under a TPM: what is read, what is refused, one change each."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import rfc8785

from signerd.core.sealed_pin import (
    MAX_FILE,
    SealedPin,
    SealedPinError,
    TpmObject,
    read_sealed_pin,
)
from signerd.core.tpm_reference import DEFAULT_TCTI, pcr_numbers, tpm_source

HELD, NONCE = b"k" * 32, b"n" * 12
KEY = TpmObject(0, b"name", b"public", b"private", (0, 7))


def sealed(pin: bytes = b"123456", key: TpmObject = KEY) -> SealedPin:
    return SealedPin.seal(pin, HELD, key, NONCE)


@pytest.mark.parametrize("pin", [b"1", b"123456", "ключ".encode(), b"9" * 255])
def test_a_pin_comes_back_through_the_file(pin: bytes) -> None:
    read = read_sealed_pin(sealed(pin).encode())
    assert read == sealed(pin)
    assert read.open(HELD) == pin


def test_the_file_tells_no_length() -> None:
    assert len({len(sealed(pin).encode()) for pin in (b"1", b"123456", b"9" * 255)}) == 1


@pytest.mark.parametrize("pin", [b"", b"9" * 256])
def test_a_pin_of_another_length_is_refused(pin: bytes) -> None:
    with pytest.raises(SealedPinError, match="1 to 255"):
        sealed(pin)


def test_another_key_opens_nothing() -> None:
    with pytest.raises(SealedPinError, match="altered"):
        sealed().open(b"l" * 32)


@pytest.mark.parametrize(
    "changed",
    [
        replace(KEY, parent_handle=0x81000001),
        replace(KEY, parent_name=b"other"),
        replace(KEY, public=b"other"),
        replace(KEY, private=b"other"),
        replace(KEY, pcrs=()),
        replace(KEY, pcrs=(0, 8)),
    ],
)
def test_every_member_is_authenticated(changed: TpmObject) -> None:
    with pytest.raises(SealedPinError, match="altered"):
        replace(sealed(), key=changed).open(HELD)


def test_a_file_that_was_cut_is_refused_wherever_it_was() -> None:
    data = sealed().encode()
    for size in range(len(data)):
        with pytest.raises(SealedPinError):
            read_sealed_pin(data[:size])


def test_a_file_with_one_byte_changed_is_refused_or_does_not_open() -> None:
    data = sealed().encode()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(SealedPinError):
            read_sealed_pin(bytes(changed)).open(HELD)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "birthmark-tpm-pin-v2"},
        {"more": "members"},
        {"pcrs": [7, 0]},
        {"pcrs": [7, 7]},
        {"pcrs": [24]},
        {"pcrs": [-1]},
        {"pcrs": [True]},
        {"pcrs": ["7"]},
        {"pcrs": "7"},
        {"parent_handle": "40000001"},
        {"parent_handle": "-1"},
        {"parent_handle": 0},
        {"parent_name": ""},
        {"public": ""},
        {"private": "zz"},
        {"private": "00" * 4096},
        {"nonce": "00"},
        {"encrypted": "00"},
        {"encrypted": None},
    ],
)
def test_another_form_is_refused(change: dict[str, object]) -> None:
    item: dict[str, Any] = {**json.loads(sealed().encode()), **change}
    data = rfc8785.dumps(item) + b"\n"
    with pytest.raises(SealedPinError):
        read_sealed_pin(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"123456\n",
        b"[]\n",
        b"null\n",
        b"[" * 15_000,
        b"\xff\xfe",
        b"9" * 5_000,
        b" " * (MAX_FILE + 1),
    ],
)
def test_what_is_no_such_file_is_refused(data: bytes) -> None:
    with pytest.raises(SealedPinError):
        read_sealed_pin(data)


@pytest.mark.parametrize("spelling", ["indented", "upper", "no newline"])
def test_there_is_one_spelling(spelling: str) -> None:
    data = sealed().encode()
    others = {
        "indented": json.dumps(json.loads(data), indent=1).encode(),
        "upper": data.replace(NONCE.hex().encode(), NONCE.hex().upper().encode()),
        "no newline": data[:-1],
    }
    with pytest.raises(SealedPinError, match="spelling"):
        read_sealed_pin(others[spelling])


def test_sources() -> None:
    assert tpm_source("hsm.pin.tpm") == ("hsm.pin.tpm", DEFAULT_TCTI)
    assert tpm_source("/a/b?tcti=device:/dev/tpmrm1") == ("/a/b", "device:/dev/tpmrm1")
    assert tpm_source("/a/b?tcti=tabrmd") == ("/a/b", "tabrmd")


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "?tcti=tabrmd",
        "a?tcti=",
        "a?tcti=cmd:tpm2_send",
        "a?tcti=/tmp/libevil.so",
        "a?tcti=device:",
        "a\0b",
    ],
)
def test_sources_that_are_none(rest: str) -> None:
    with pytest.raises(ValueError, match=r"tpm:PATH|a TPM is"):
        tpm_source(rest)


def test_pcrs() -> None:
    assert pcr_numbers("") == ()
    assert pcr_numbers("7,0") == (0, 7)


@pytest.mark.parametrize("text", ["24", "-1", "7,", "7,7", "sha256:7", " 7", "07,7", "7 8", "٧"])
def test_pcrs_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="PCR"):
        pcr_numbers(text)
