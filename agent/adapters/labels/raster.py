"""A label as dots, black and white as the printer has them: PNG and PDF."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw

from agent.adapters.labels.layout import Layout, TextLine

_WHITE, _BLACK = 1, 0


def draw(layout: Layout) -> Image.Image:
    """The label's dots, mode "1"."""
    image = Image.new("1", (layout.width, layout.height), _WHITE)
    side = len(layout.matrix)
    code = Image.new("1", (side, side), _WHITE)
    code.putdata([_BLACK if module else _WHITE for row in layout.matrix for module in row])
    size = side * layout.module
    image.paste(code.resize((size, size), Image.Resampling.NEAREST), (layout.code_x, layout.code_y))
    for line in layout.lines:
        draw_text(image, layout, line, (line.x, line.baseline))
    return image


def draw_text(image: Image.Image, layout: Layout, line: TextLine, at: tuple[int, int]) -> None:
    """Writes a line, its baseline beginning at this dot."""
    ImageDraw.Draw(image).text(at, line.text, font=layout.font.at(line.size), fill=_BLACK, anchor="ls")


def as_png(layout: Layout) -> bytes:
    """A PNG that says its own resolution."""
    out = io.BytesIO()
    draw(layout).save(out, "PNG", dpi=(layout.dpi, layout.dpi), optimize=True)
    return out.getvalue()


def as_pdf(layout: Layout) -> bytes:
    """A PDF of one page, of the label's size."""
    out = io.BytesIO()
    draw(layout).save(out, "PDF", resolution=layout.dpi)
    return out.getvalue()
