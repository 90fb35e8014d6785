"""Templates of labels: what is refused, and that the refusal says why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.label_pattern import LabelContentError
from agent.core.label_template import MAX_TEMPLATE_BYTES, TemplateError, parse_template
from harness.label_samples import CODE, LABEL, TEMPLATE, TEXT_CODE, label, template, with_code

_URL = with_code(TEXT_CODE)
_SOFTAP = {"code__transport": "softap"}


def test_a_template_is_read() -> None:
    read = template()
    assert (read.width_mm, read.height_mm, read.dpi, read.margin_mm) == (50, 25, 203, 1.5)
    assert [line.text for line in read.lines][-1] == "Port {port}"
    assert read.code.error_correction == "M"


def test_a_line_may_have_a_size_of_its_own() -> None:
    lines = [{"text": "{port}", "size_mm": 4}, "{serial}"]
    assert [line.size_mm for line in template(lines=lines).lines] == [4, None]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"colour": "red"}, "colour: no such key"),
        ({"code__colour": "red"}, "code.esp-provisioning.colour: no such key"),
        ({"sample__mac": "x"}, "sample.mac: no such key"),
        ({"dpi": "203"}, "dpi: must be a whole number"),
        ({"dpi": 203.0}, "dpi: must be a whole number"),
        ({"dpi": True}, "dpi: must be a whole number"),
        ({"dpi": 149}, "dpi: must be at least 150"),
        ({"width_mm": None}, "width_mm: it is missing"),
        ({"width_mm": 301}, "width_mm: must be at most 300"),
        ({"width_mm": float("nan")}, "width_mm"),
        ({"margin_mm": 0.4}, "margin_mm"),
        ({"text_mm": 1.1}, "text_mm"),
        ({"text_position": "left"}, "text_position: must be 'right' or 'below'"),
        ({"lines": []}, "lines: has 0 entries, and must have at least 1"),
        ({"lines": ["{port}"] * 17}, "lines"),
        ({"lines": ["{port}", ""]}, "lines.1"),
        ({"lines": ["{port}", "{mac}"]}, "there is no field {mac}; use {serial}"),
        ({"lines": ["{port}", "{serial!r}"]}, "there is no field {serial!r}"),
        ({"lines": ["{port}", "{serial:>40}"]}, "there is no field {serial:>40}"),
        ({"lines": ["{port}", "{serial.__class__}"]}, "there is no field"),
        ({"lines": ["{port}", "{0}"]}, "there is no field {0}"),
        ({"lines": ["{port}", "{}"]}, "there is no field {}"),
        ({"lines": ["{port}", "{serial"]}, "written twice"),
        ({"lines": ["{port}", "a\tb"]}, "cannot be printed"),
        ({"lines": ["S/N {serial}"]}, "none names {port}"),
        ({"lines": ["S/N {serial}", "{{port}}"]}, "none names {port}"),
        ({"code__kind": "matter"}, "code"),
        ({"code__transport": "wifi"}, "code.esp-provisioning.transport"),
        ({"code__security": 0}, "code.esp-provisioning.security"),
        ({"code__security": 2}, "asks the app for a username"),
        ({"code__security": 1, "code__username": "wifiprov"}, "username belongs to security 2"),
        ({"code__password": "secret"}, "access point"),
        ({**_SOFTAP, "code__network": "thread"}, "provisioned over ble"),
        ({"code__error_correction": "X"}, "error_correction"),
        ({"code__module_mm": 0.32}, "module_mm"),
        ({"code__quiet_zone": 3}, "quiet_zone"),
        ({"height_mm": 9}, "take a larger label"),
        ({"code__module_mm": 0.9}, "take a larger label"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(TemplateError) as refusal:
        template(**keys)
    assert says in str(refusal.value)


def test_a_code_that_nobody_would_learn_is_refused() -> None:
    with pytest.raises(TemplateError, match="nobody would ever learn"):
        template(_URL, code__text="https://example.com/p?s={serial}")
    template(_URL, code__text="https://example.com/p?s={serial}", lines=["{port}", "{pop}"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("https://{serial}.example.com/{pop}", "path, query or fragment"),
        ("https://example.com:{serial}/{pop}", "path, query or fragment"),
        ("{serial}://example.com/{pop}", "path, query or fragment"),
        ("https://example.com/a b/{pop}", "a URL must not have"),
        ("https://example.com/ü/{pop}", "a URL must not have"),
        ("Gerät {pop}", "printable ASCII"),
    ],
)
def test_texts_that_are_refused(text: str, says: str) -> None:
    with pytest.raises(TemplateError, match=says):
        template(_URL, code__text=text)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"a = 1", b"a = " + b"1" * 5_000, b"a = " + b"[" * 5_000, b" " * (MAX_TEMPLATE_BYTES + 1)],
    ids=["empty", "not-utf8", "other", "huge-number", "deep", "large"],
)
def test_bytes_that_are_no_template(data: bytes) -> None:
    with pytest.raises(TemplateError):
        parse_template(data)


@given(st.data())
def test_only_domain_errors(data: st.DataObject) -> None:
    original = TEMPLATE.encode()
    begin = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(begin, min(len(original), begin + 20)))
    mangled = original[:begin] + data.draw(st.binary(max_size=20)) + original[end:]
    try:
        parse_template(mangled)
    except TemplateError:
        return


# Payloads


def test_provisioning_payload() -> None:
    payload = template().code.payload(LABEL)
    assert payload == '{"ver":"v1","name":"PROV_000123","pop":"K7QW-3XRM","transport":"ble"}'


def test_provisioning_payload_with_every_member() -> None:
    keys = {
        **_SOFTAP,
        "code__security": 2,
        "code__username": "wifiprov",
        "code__password": "ap-{serial}",
        "code__network": "wifi",
    }
    assert json.loads(template(**keys).code.payload(LABEL)) == {
        "ver": "v1",
        "name": "PROV_000123",
        "username": "wifiprov",
        "pop": CODE,
        "transport": "softap",
        "security": 2,
        "password": "ap-BM-000123",
        "network": "wifi",
    }


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=4, max_size=64))
def test_no_character_of_a_code_ends_its_string(code: str) -> None:
    said = json.loads(template().code.payload(label(code=code)))
    assert said == {"ver": "v1", "name": "PROV_000123", "pop": code, "transport": "ble"}


@pytest.mark.parametrize(("transport", "most"), [("ble", 29), ("softap", 32)])
def test_a_name_that_the_radio_cannot_carry(transport: str, most: int) -> None:
    read = template(code__transport=transport, code__name="{serial}")
    read.code.payload(label(serial_number="n" * most))
    with pytest.raises(LabelContentError, match=f"{most} bytes"):
        read.code.payload(label(serial_number="n" * (most + 1)))


def test_url_payload() -> None:
    code = template(_URL).code
    assert code.payload(label(serial_number="A/B&p=x #é", code="p&q=%r?")) == (
        "https://example.com/p?s=A%2FB%26p%3Dx%20%23%C3%A9&p=p%26q%3D%25r%3F"
    )


def test_text_payload_is_filled_in_as_it_is() -> None:
    code = template(_URL, code__text="P:{pop};{{x}}").code
    assert code.payload(label(code="{serial}&%")) == "P:{serial}&%;{x}"


def test_text_payload_takes_ascii_alone() -> None:
    code = template(_URL, code__text="{serial} {pop}").code
    code.payload(label(serial_number="Gerat"))
    with pytest.raises(LabelContentError, match="printable ASCII"):
        code.payload(label(serial_number="Gerät"))


@pytest.mark.parametrize("value", ["", "a\nb", "a\x00", "\u200b", "\ud800"], ids=ascii)
def test_values_that_cannot_be_printed(value: str) -> None:
    with pytest.raises(LabelContentError, match="serial"):
        template(code__name="{serial}").code.payload(label(serial_number=value))


def test_chip_tail() -> None:
    assert label(chip_id="7c:df:a1:0a:bc:de").chip_tail == "0ABCDE"
    with pytest.raises(LabelContentError, match="chip_tail"):
        template().code.payload(label(chip_id="xyz"))


def test_the_code_is_in_no_repr() -> None:
    assert CODE not in repr(LABEL)
    assert LABEL.serial_number in repr(LABEL)
