"""Labels as they are drawn: what a reader of codes reads, and that nothing is cut or stands in the way."""

from __future__ import annotations

import io
import json
import re
import string
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agent.adapters.labels.font import LabelFont
from agent.adapters.labels.layout import DoesNotFitError, Layout, lay_out
from agent.adapters.labels.raster import as_pdf, as_png, draw, draw_text
from agent.adapters.labels.render import LabelMaker
from agent.adapters.labels.svg import as_svg
from agent.adapters.labels.zpl import as_zpl
from agent.core.label_pattern import LabelContentError
from agent.errors import ConfigError, LabelError
from harness.label_samples import (
    CODE,
    FONT,
    LABEL,
    TEXT_CODE,
    label,
    laid_out,
    read_codes,
    template,
    with_code,
)
from harness.zpl_reader import read_zpl

_CODES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=4, max_size=24)
_PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
_NAMES = st.text(_PRINTABLE, min_size=1, max_size=24).filter(str.strip)
_URL = with_code(TEXT_CODE)
_EVERY_CHARACTER = "".join(chr(character) for character in range(0x21, 0x7F))
_COMMANDS = [*("^XA", "^CI", "^PW", "^LL", "^LH", "^LS", "^FO", "^GF", "^FS"), "^PQ", "^XZ"]
_TEXT_COMMANDS = ["^FT", "^A", "^FH", "^FD", "^FS"]
_LARGE = {"width_mm": 90, "height_mm": 40}


@pytest.fixture(scope="module")
def dejavu() -> LabelFont:
    """A font with Cyrillic, which comes with matplotlib."""
    return LabelFont(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def payload_of(layout_label: Any, **keys: object) -> str:
    return template(**keys).code.payload(layout_label)


@pytest.mark.parametrize("dpi", [203, 300, 600])
def test_png_is_read(dpi: int) -> None:
    png = Image.open(io.BytesIO(as_png(laid_out(dpi=dpi))))
    assert read_codes(png) == [payload_of(LABEL)]
    assert png.info["dpi"] == pytest.approx((dpi, dpi), abs=0.02)
    assert png.size == (round(50 * dpi / 25.4), round(25 * dpi / 25.4))


@pytest.mark.parametrize("dpi", [203, 300, 600])
def test_zpl_is_read(dpi: int) -> None:
    printed = read_zpl(as_zpl(laid_out(dpi=dpi)))
    assert read_codes(printed.picture()) == [payload_of(LABEL)]
    assert printed.texts == ["S/N BM-000123", "MAC 7c:df:a1:00:01:23", "WO-2026-001", "Port hub 1 port 3"]


@pytest.mark.parametrize("begin", range(0, len(_EVERY_CHARACTER), 16))
def test_every_character_of_a_code(begin: int) -> None:
    this = label(code=_EVERY_CHARACTER[begin : begin + 16].ljust(4, "x"))
    lines = ["{port}", "{pop}"]
    layout = laid_out(this, lines=lines)
    assert read_codes(draw(layout)) == [payload_of(this)]
    printed = read_zpl(as_zpl(layout))
    assert printed.texts == [this.port, this.code]


@settings(max_examples=40)
@given(_CODES, _NAMES, _NAMES)
def test_any_code_serial_and_port_are_read(code: str, serial: str, port: str) -> None:
    this = label(code=code, serial_number=serial, port=port)
    layout = laid_out(this, _URL, **_LARGE)
    expected = [template(_URL).code.payload(this)]
    assert read_codes(draw(layout)) == expected
    assert read_codes(read_zpl(as_zpl(layout)).picture()) == expected


@settings(max_examples=60)
@given(_CODES, _NAMES, _NAMES)
def test_no_value_is_a_zpl_command(code: str, serial: str, port: str) -> None:
    this = label(code=code, serial_number=serial, port=port)
    printed = read_zpl(as_zpl(laid_out(this, lines=["{serial}", "{port}", "{pop}"], **_LARGE)))
    assert printed.commands == [*_COMMANDS[:9], *(_TEXT_COMMANDS * 3), *_COMMANDS[9:]]
    assert printed.texts == [serial, port, code]
    assert printed.labels == 1


@pytest.mark.parametrize(
    "value", ["^XZ", "~JR", "^FS^XA^FDx^XZ", "_5EXZ", "\\5e", "^CC!", "<>&\"'"], ids=ascii
)
def test_values_that_look_like_commands(value: str) -> None:
    layout = laid_out(label(port=value), **_LARGE)
    printed = read_zpl(as_zpl(layout))
    assert printed.labels == 1
    assert printed.texts[-1] == f"Port {value}"
    texts = ET.fromstring(as_svg(layout)).findall(".//{http://www.w3.org/2000/svg}text")
    assert [text.text for text in texts][-1] == f"Port {value}"


def test_the_reader_of_zpl_sees_a_command_that_gets_through() -> None:
    unescaped = as_zpl(laid_out()).replace(b"hub 1 port 3", b"hub^FS^XZ~JR", 1)
    assert read_zpl(unescaped).labels == 2


# Room


def _ink(layout: Layout) -> Image.Image:
    """Dark dots are 255."""
    return draw(layout).convert("L").point(lambda dot: 255 - dot)


@pytest.mark.parametrize("dpi", [203, 300, 600])
@pytest.mark.parametrize("position", ["right", "below"])
def test_quiet_zone_and_margins_are_white(dpi: int, position: str) -> None:
    size = {"width_mm": 50, "height_mm": 25} if position == "right" else {"width_mm": 30, "height_mm": 45}
    layout = laid_out(dpi=dpi, text_position=position, **size)
    ink, side, quiet = _ink(layout), len(layout.matrix) * layout.module, 4 * layout.module
    code = (layout.code_x, layout.code_y, layout.code_x + side, layout.code_y + side)
    around = (code[0] - quiet, code[1] - quiet, code[2] + quiet, code[3] + quiet)
    assert min(around[:2]) >= 0
    assert around[2] <= layout.width
    assert around[3] <= layout.height
    ink.paste(0, code)
    assert ink.crop(around).getbbox() is None
    margin = int(1.5 * dpi / 25.4)
    left, top, right, bottom = ink.getbbox() or (0, 0, 0, 0)
    assert min(left, top) >= margin
    assert right <= layout.width - margin
    assert bottom <= layout.height - margin


@settings(max_examples=40)
@given(_NAMES, st.sampled_from([203, 300]), st.sampled_from(["right", "below"]))
def test_text_is_never_cut(port: str, dpi: int, position: str) -> None:
    """The longest line, written on paper that goes on beyond the label, stays within its margins."""
    keys = {"dpi": dpi, "text_position": position, "width_mm": 60, "height_mm": 60, "code__size_mm": 20}
    layout = laid_out(label(port=port), **keys)
    line = layout.lines[-1]
    paper = Image.new("1", (layout.width * 3, layout.height * 3), 1)
    draw_text(paper, layout, line, (layout.width + line.x, layout.height + line.baseline))
    box = paper.convert("L").point(lambda dot: 255 - dot).getbbox()
    assert box is not None
    margin = int(1.5 * dpi / 25.4)
    assert box[0] >= layout.width + margin
    assert box[2] <= 2 * layout.width - margin + 1
    assert box[1] >= layout.height + margin
    assert box[3] <= 2 * layout.height - margin


def test_modules_are_as_large_as_they_go_and_leave_room_for_text() -> None:
    assert (
        laid_out().module_mm > laid_out(lines=["Port {port}", "MAC {chip_id} {work_order}"]).module_mm >= 0.33
    )


def test_size_mm_bounds_the_code() -> None:
    layout = laid_out(**_LARGE, code__size_mm=15)
    assert len(layout.matrix) * layout.module_mm <= 15
    assert len(laid_out(**_LARGE).matrix) * laid_out(**_LARGE).module_mm > 15


@pytest.mark.parametrize("dpi", [150, 203, 300, 600, 1200])
def test_modules_are_never_smaller_than_asked(dpi: int) -> None:
    layout = laid_out(dpi=dpi, code__size_mm=19, code__module_mm=0.4, **_LARGE)
    assert layout.module_mm >= 0.4


def test_a_payload_that_does_not_fit_is_refused() -> None:
    laid_out(label(code="x" * 20), width_mm=60, height_mm=20)
    with pytest.raises(DoesNotFitError, match=r"0\.33 mm a module: take a larger label"):
        laid_out(label(code="x" * 64), width_mm=60, height_mm=20)


def test_a_line_that_is_too_long_becomes_smaller_and_is_refused_at_last() -> None:
    usual = laid_out(code__size_mm=15)
    small = laid_out(label(port="p" * 24), code__size_mm=15)
    assert small.lines[-1].size < usual.lines[-1].size
    assert small.lines[0].size == usual.lines[0].size
    with pytest.raises(DoesNotFitError, match="text does not fit"):
        laid_out(label(port="p" * 80), code__size_mm=15)


def test_a_template_must_hold_its_own_sample() -> None:
    LabelMaker(template(height_mm=20, sample__pop="x" * 20, width_mm=60), FONT)
    with pytest.raises(ConfigError, match="own sample: the code has"):
        LabelMaker(template(height_mm=20, sample__pop="x" * 64, width_mm=60), FONT)


def test_a_character_without_a_glyph_is_refused() -> None:
    laid_out(label(port="slot 3"))
    with pytest.raises(LabelContentError, match="name a font"):
        laid_out(label(port="工位 3"))


# Reading under hardship


@pytest.mark.parametrize("where", ["middle", "corner", "edge"])
@pytest.mark.parametrize("level", ["M", "Q", "H"])
@pytest.mark.parametrize("shade", [0, 255], ids=["black", "white"])
def test_a_tenth_of_the_code_covered(level: str, where: str, shade: int) -> None:
    layout = laid_out(code__error_correction=level, dpi=300, **_LARGE)
    picture, side = draw(layout).convert("L"), len(layout.matrix)
    patch = int((side * side / 10) ** 0.5)
    first = {
        "middle": ((side - patch) // 2, (side - patch) // 2),
        "corner": (side - patch, side - patch),
        "edge": (side - patch, (side - patch) // 2),
    }[where]
    x, y = layout.code_x + first[0] * layout.module, layout.code_y + first[1] * layout.module
    dots = patch * layout.module
    picture.paste(shade, (x, y, x + dots, y + dots))
    assert read_codes(picture) == [payload_of(LABEL)]


def test_half_of_the_code_covered_is_not_read() -> None:
    layout = laid_out(dpi=300)
    picture, dots = draw(layout).convert("L"), len(layout.matrix) * layout.module
    picture.paste(255, (layout.code_x, layout.code_y + dots // 2, layout.code_x + dots, layout.code_y + dots))
    assert read_codes(picture) == []


# Secrecy


def test_the_code_is_in_no_repr_and_no_error() -> None:
    layout = laid_out(lines=["{port}", "{pop}"])
    assert CODE not in repr(layout) + repr(layout.lines)
    long = (string.ascii_letters * 2)[:64]
    maker = LabelMaker(template(height_mm=20), FONT)
    with pytest.raises(LabelError) as refusal:
        maker.make(label(code=long), ("png",))
    told = repr(refusal.value) + str(refusal.value) + refusal.value.remedy
    assert long[:4] not in told
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


def test_a_pdf_has_a_page_of_the_labels_size() -> None:
    pdf = as_pdf(laid_out())
    assert pdf.startswith(b"%PDF")
    assert CODE.encode() not in pdf


def test_svg_is_of_the_labels_size() -> None:
    svg = ET.fromstring(as_svg(laid_out()))
    assert float(svg.attrib["width"].removesuffix("mm")) == pytest.approx(50, abs=0.13)
    assert svg.attrib["viewBox"] == "0 0 400 200"


def test_provisioning_json_survives_the_way() -> None:
    this = label(code='"}{\\u0041"')
    (read,) = read_codes(draw(laid_out(this)))
    assert json.loads(read)["pop"] == this.code


def test_a_font_of_its_own_goes_to_the_printer_as_a_graphic(dejavu: LabelFont) -> None:
    """And so does any text of other scripts: no printer can be trusted to have it."""
    layout = lay_out(template(), label(port="место 3"), dejavu)
    printed = read_zpl(as_zpl(layout))
    assert printed.texts == []
    assert len(printed.graphics) == 1 + 4
    assert printed.picture().tobytes() == draw(layout).convert("L").tobytes()


def test_the_printers_font_stays_within_the_line() -> None:
    heights = {}
    for port in ("000000000000", "------------"):
        zpl = as_zpl(laid_out(label(port=port), lines=["{port}"])).decode()
        heights[port] = int(re.findall(r"\^A0N,(\d+)", zpl)[0])
    assert heights == {"000000000000": 17, "------------": 9}  # of 17.6 dots
