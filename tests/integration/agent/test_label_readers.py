"""Labels as other programs draw them: SVG by Chromium, PDF by Poppler, and the code read out of both."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from agent.adapters.labels.layout import Layout
from agent.adapters.labels.raster import as_pdf, draw
from agent.adapters.labels.svg import as_svg
from harness.label_samples import LABEL, TEXT_CODE, label, laid_out, read_codes, template, with_code
from harness.process import run

_URL = with_code(TEXT_CODE)
_CODES = ["K7QW-3XRM", "<&>\"'\\", "]]>&#0;"]
_PIXELS_PER_INCH = 96  # CSS


def _by_chromium(svg: bytes, layout: Layout, directory: Path) -> Image.Image:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium is not None, "deploy/setup/setup.sh installs Chromium"
    (directory / "label.svg").write_bytes(svg)
    picture = directory / "label.png"
    scale = layout.dpi / _PIXELS_PER_INCH
    # Chromium takes the height of a window's own bars off what it draws, also where it shows none.
    size = f"{round(layout.width / scale) + 300},{round(layout.height / scale) + 300}"
    run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={directory / 'profile'}", f"--force-device-scale-factor={scale}"),
            *(f"--window-size={size}", f"--screenshot={picture}", (directory / "label.svg").as_uri()),
        ]
    )
    return Image.open(picture).convert("L").crop((0, 0, layout.width, layout.height))


def _by_poppler(pdf: bytes, directory: Path, *, dpi: int) -> Image.Image:
    assert shutil.which("pdftoppm") is not None, "deploy/setup/setup.sh installs poppler-utils"
    (directory / "label.pdf").write_bytes(pdf)
    run(["pdftoppm", "-r", str(dpi), "-gray", "-singlefile", directory / "label.pdf", directory / "page"])
    return Image.open(directory / "page.pgm")


def _bounds(picture: Image.Image) -> tuple[int, int, int, int]:
    box = picture.convert("L").point(lambda dot: 255 if dot < 128 else 0).getbbox()
    assert box is not None
    return box


@pytest.mark.parametrize("code", _CODES, ids=ascii)
def test_svg_is_read(code: str, tmp_path: Path) -> None:
    this = label(code=code, port='<script>"&amp;')
    layout = laid_out(this, _URL, width_mm=90)
    picture = _by_chromium(as_svg(layout), layout, tmp_path)
    assert read_codes(picture) == [template(_URL).code.payload(this)]


@pytest.mark.parametrize("dpi", [203, 300, 600])
def test_svg_stands_where_the_printer_has_it(dpi: int, tmp_path: Path) -> None:
    layout = laid_out(dpi=dpi)
    seen, printed = _bounds(_by_chromium(as_svg(layout), layout, tmp_path)), _bounds(draw(layout))
    millimetre = dpi / 25.4
    assert all(abs(one - other) < millimetre for one, other in zip(seen, printed, strict=True))


@pytest.mark.parametrize("code", _CODES, ids=ascii)
def test_pdf_is_read(code: str, tmp_path: Path) -> None:
    this = label(code=code)
    layout = laid_out(this, _URL)
    picture = _by_poppler(as_pdf(layout), tmp_path, dpi=300)
    assert read_codes(picture) == [template(_URL).code.payload(this)]


@pytest.mark.parametrize("dpi", [203, 300, 600])
def test_pdf_has_the_printers_dots(dpi: int, tmp_path: Path) -> None:
    layout = laid_out(dpi=dpi)
    picture = _by_poppler(as_pdf(layout), tmp_path, dpi=dpi)
    assert read_codes(picture) == [template().code.payload(LABEL)]
    assert all(
        abs(one - other) <= 1 for one, other in zip(picture.size, (layout.width, layout.height), strict=True)
    )
