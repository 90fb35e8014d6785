"""Manifests: one encoding, that of RFC 8785; any other bytes are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from agent.core.bundle import BundleError, Burn
from agent.core.bundle_manifest import encode_manifest, parse_manifest
from harness.bundle_samples import sample, secure_sample

BURNS = (Burn("DIS_USB_JTAG", 1, after_first_boot=False), Burn("WDT_DELAY_SEL", 3, after_first_boot=True))
MANIFEST = replace(secure_sample().manifest, burns=BURNS)
DATA = encode_manifest(MANIFEST)


def test_what_was_encoded_is_read() -> None:
    assert parse_manifest(DATA) == MANIFEST
    assert parse_manifest(encode_manifest(sample().manifest)) == sample().manifest


def test_the_encoding_is_rfc_8785s() -> None:
    assert rfc8785.dumps(json.loads(DATA)) == DATA


@given(st.text(max_size=40))
def test_texts_are_encoded_as_rfc_8785_does(text: str) -> None:
    secure_boot = MANIFEST.secure_boot
    assert secure_boot is not None
    with_text = replace(MANIFEST, secure_boot=replace(secure_boot, public_key_pem=text))
    data = encode_manifest(with_text)
    assert rfc8785.dumps(json.loads(data)) == data
    assert parse_manifest(data) == with_text


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(DATA)
    change(document)
    return rfc8785.dumps(document)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(b"", "not JSON", id="nothing"),
        pytest.param(b"\xff", "not JSON", id="no-utf8"),
        pytest.param(DATA[:-1], "not JSON", id="cut-off"),
        pytest.param(DATA + b"\n", "canonical", id="a-newline-behind"),
        pytest.param(b" " + DATA, "canonical", id="a-space-before"),
        pytest.param(DATA.replace(b'"v":1', b'"v":1,"v":1'), "canonical", id="member-twice"),
        pytest.param(DATA.replace(b'"sensor"', b'"s\\u0065nsor"'), "canonical", id="escape"),
        pytest.param(DATA.replace(b'"v":1', b'"v":true'), "canonical", id="true-for-one"),
        pytest.param(DATA.replace(b'"v":1', b'"v":1.0'), "not JSON", id="float"),
        pytest.param(DATA.replace(b'"v":1', b'"v":1e0'), "not JSON", id="exponent"),
        pytest.param(DATA.replace(b'"v":1', b'"v":NaN'), "not JSON", id="nan"),
        pytest.param(DATA.replace(b'"v":1', b'"v":' + b"1" * 5_000), "not JSON", id="endless-number"),
        pytest.param(b"[" * 60_000, "not JSON", id="deep"),
        pytest.param(b'{"a":"' + b"a" * 66_000 + b'"}', "larger", id="large"),
        pytest.param(b"[]", "must be a table", id="list"),
        pytest.param(b"null", "must be a table", id="null"),
    ],
)
def test_other_encodings_are_refused(data: bytes, text: str) -> None:
    with pytest.raises(BundleError, match=text):
        parse_manifest(data)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        pytest.param(lambda m: m.update(v=2), "v", id="another-form"),
        pytest.param(lambda m: m.update(more=1), "more", id="unknown-member"),
        pytest.param(
            lambda m: m["images"][0].update(more=1), r"images\.0\.more", id="unknown-member-of-image"
        ),
        pytest.param(lambda m: m.pop("burns"), "burns", id="missing-member"),
        pytest.param(lambda m: m["images"][0].pop("digest"), r"images\.0\.digest", id="missing-digest"),
        pytest.param(lambda m: m.update(product="a b"), "product", id="product"),
        pytest.param(lambda m: m.update(product="sensor\n"), "product", id="newline-behind-product"),
        pytest.param(lambda m: m.update(flash_size="4MB"), "flash_size", id="flash-size"),
        pytest.param(lambda m: m.update(flash_size=1 << 40), "flash_size", id="flash-size-too-large"),
        pytest.param(lambda m: m.update(images=[]), "images", id="no-images"),
        pytest.param(lambda m: m.update(images=m["images"] * 7), "images", id="too-many-images"),
        pytest.param(lambda m: m["images"][0].update(name="../x"), r"images\.0\.name", id="name-with-a-path"),
        pytest.param(lambda m: m["images"][0].update(name="B"), r"images\.0\.name", id="name-in-capitals"),
        pytest.param(lambda m: m["images"][0].update(role="boot"), r"images\.0\.role", id="role"),
        pytest.param(lambda m: m["images"][0].update(offset=-4096), r"images\.0\.offset", id="offset"),
        pytest.param(lambda m: m["images"][0].update(size=0), r"images\.0\.size", id="size"),
        pytest.param(lambda m: m["images"][0].update(size=33 << 20), r"images\.0\.size", id="size-too-large"),
        pytest.param(lambda m: m["images"][0].update(sha256="00"), r"images\.0\.sha256", id="sha256"),
        pytest.param(lambda m: m["images"][0].update(sha256="A" * 64), r"images\.0\.sha256", id="capitals"),
        pytest.param(lambda m: m["images"][0].update(component=""), r"images\.0\.component", id="component"),
        pytest.param(lambda m: m.update(minimum_versions={"a b": "1"}), "minimum_versions", id="minimum"),
        pytest.param(lambda m: m["burns"][0].update(value=0), r"burns\.0\.value", id="burns-nothing"),
        pytest.param(lambda m: m["burns"][0].update(value=1 << 32), r"burns\.0\.value", id="burns-too-much"),
        pytest.param(lambda m: m["burns"][0].update(when="now"), r"burns\.0\.when", id="burns-when"),
        pytest.param(lambda m: m["burns"][0].update(name="a=1"), r"burns\.0\.name", id="burns-what"),
        pytest.param(lambda m: m["secure_boot"].update(public_key_pem="x" * 3_000), "secure_boot", id="pem"),
    ],
)
def test_members_of_another_form_are_refused_by_name(
    change: Callable[[dict[str, Any]], object], where: str
) -> None:
    with pytest.raises(BundleError, match=f"manifest.json: {where}"):
        parse_manifest(changed(change))


def test_an_unknown_member_cannot_write_to_a_terminal() -> None:
    with pytest.raises(BundleError) as refused:
        parse_manifest(changed(lambda document: document.update({"\x1b]0;evil\x07" + "x" * 500: 1})))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        parse_manifest(data)


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(BundleError, match="surrogate"):
        encode_manifest(replace(MANIFEST, product="\ud800"))
    with pytest.raises(BundleError, match="manifest"):
        parse_manifest(DATA.replace(b'"sensor"', b'"\\ud800"'))
