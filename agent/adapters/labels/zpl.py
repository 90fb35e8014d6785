"""A label as ZPL II: the code as a graphic field, text in the printer's own font.

What a board or a configuration says reaches the printer only inside `^FD`, every byte but letters, digits and
spaces in hexadecimal (`^FH`): no value can end its field or begin a command. Text that the printer's font may
not have, and all text of a template with a font of its own, goes as a graphic.
"""

from __future__ import annotations

from PIL import Image

from agent.adapters.labels import raster
from agent.adapters.labels.layout import Layout, TextLine

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ")
# Font 0 of Zebra printers is CG Triumvirate Bold Condensed: at nine tenths of its height it stays within what
# Aileron measures.
_WIDTH_OF_HEIGHT = 0.9


def as_zpl(layout: Layout) -> bytes:
    """One label, one copy; ASCII."""
    fields = [_graphic(_code(layout), layout.code_x, layout.code_y)]
    fields += [_text(layout, line) for line in layout.lines]
    head = f"^XA^CI28^PW{layout.width}^LL{layout.height}^LH0,0^LS0"
    return "\n".join([head, *fields, "^PQ1", "^XZ", ""]).encode("ascii")


def _code(layout: Layout) -> Image.Image:
    side = len(layout.matrix) * layout.module
    drawn = raster.draw(layout)
    return drawn.crop((layout.code_x, layout.code_y, layout.code_x + side, layout.code_y + side))


def _text(layout: Layout, line: TextLine) -> str:
    if not layout.font.is_default or not line.text.isascii():
        return _text_graphic(layout, line)
    height = round(line.size)
    return (
        f"^FT{line.x},{line.baseline}^A0N,{height},{round(height * _WIDTH_OF_HEIGHT)}"
        f"^FH_^FD{_escaped(line.text)}^FS"
    )


def _text_graphic(layout: Layout, line: TextLine) -> str:
    ascent, descent = layout.font.at(line.size).getmetrics()
    image = Image.new("1", (line.width, ascent + descent), 1)
    raster.draw_text(image, layout, line, (0, ascent))
    return _graphic(image, line.x, line.baseline - ascent)


def _graphic(image: Image.Image, x: int, y: int) -> str:
    """`^GFA`: rows of whole bytes, most significant bit first, 1 is black."""
    row_bytes = (image.width + 7) // 8
    rows = Image.new("1", (row_bytes * 8, image.height), 1)
    rows.paste(image, (0, 0))
    data = bytes(byte ^ 0xFF for byte in rows.tobytes())
    return f"^FO{x},{y}^GFA,{len(data)},{len(data)},{row_bytes},{data.hex().upper()}^FS"


def _escaped(text: str) -> str:
    return "".join(chr(byte) if byte in _PLAIN else f"_{byte:02X}" for byte in text.encode("utf-8"))
