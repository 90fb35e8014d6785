"""Labels and their templates for tests, and a reader of codes that shares nothing with what draws them."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import zxingcpp
from PIL import Image

from agent.adapters.labels.font import LabelFont
from agent.adapters.labels.layout import Layout, lay_out
from agent.core.label import Label
from agent.core.label_template import LabelTemplate, parse_template

CODE = "K7QW-3XRM"
LABEL = Label(
    port="hub 1 port 3",
    serial_number="BM-000123",
    chip_id="7c:df:a1:00:01:23",
    model="sensor",
    work_order="WO-2026-001",
    code=CODE,
)
TEMPLATE = """\
width_mm = 50
height_mm = 25
dpi = 203
lines = ["S/N {serial}", "MAC {chip_id}", "{work_order}", "Port {port}"]

[code]
kind = "esp-provisioning"
name = "PROV_{chip_tail}"
transport = "ble"
"""
TEXT_CODE = """\
[code]
kind = "text"
text = "https://example.com/p?s={serial}&p={pop}"
"""
FONT = LabelFont()


def template(text: str = TEMPLATE, /, **keys: object) -> LabelTemplate:
    """A template with some keys of its own: `code__name` is `name` in `[code]`."""
    return parse_template(template_bytes(text, **keys))


def template_bytes(text: str = TEMPLATE, /, **keys: object) -> bytes:
    """The file. None leaves a key out."""
    document = tomllib.loads(text)
    for path, value in keys.items():
        *tables, name = path.split("__")
        table = document
        for part in tables:
            table = table.setdefault(part, {})
        if value is None:
            del table[name]
        else:
            table[name] = value
    return _written(document).encode()


def with_code(text: str) -> str:
    """The template with another `[code]` table."""
    return TEMPLATE.partition("[code]")[0] + text


def laid_out(label: Label = LABEL, text: str = TEMPLATE, /, **keys: object) -> Layout:
    """A label's layout."""
    return lay_out(template(text, **keys), label, FONT)


def label(**values: str) -> Label:
    """`LABEL` with other values."""
    return replace(LABEL, **values)


def read_codes(image: Image.Image) -> list[str]:
    """The texts of all codes in a picture, read by zxing-cpp."""
    return [found.text for found in zxingcpp.read_barcodes(image.convert("L"))]


def _written(table: dict[str, Any], name: str = "") -> str:
    plain = [f"{key} = {_value(value)}" for key, value in table.items() if not isinstance(value, dict)]
    below = [_written(value, key) for key, value in table.items() if isinstance(value, dict)]
    return "\n".join([f"[{name}]" if name else "", *plain, *below, ""])


def _value(value: Any) -> str:
    if isinstance(value, str):
        escaped = "".join(
            f"\\U{ord(character):08X}" if character in '"\\' or not character.isprintable() else character
            for character in value
        )
        return f'"{escaped}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_value(item)}' for key, item in value.items())} }}"
    return str(value).lower() if isinstance(value, bool) else str(value)
