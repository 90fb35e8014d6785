"""A label as ZPL II: the code as a graphic field, text in the printer's own font.

What a board or a configuration says reaches the printer only inside `^FD`, every byte but letters, digits and
spaces in hexadecimal (`^FH`): no value can end its field or begin a command. Text that the printer's font may
not have, and all text of a template with a font of its own, goes as a graphic. The printer's font is taken so
high, in the same measure for all lines, that even its widest characters stay within what was measured.
"""

from __future__ import annotations

from PIL import Image

from agent.adapters.labels import raster
from agent.adapters.labels.layout import Layout, TextLine

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ")
# Font 0 of these printers is CG Triumvirate Bold Condensed. How much wider than Aileron of the same height
# its characters are at most: digits, capitals, small letters (i and l), and the rest (the hyphen).
_DIGIT, _CAPITAL, _SMALL, _OTHER = 0.85, 1.07, 1.12, 1.85


def as_zpl(layout: Layout) -> bytes:
    """One label, one copy; ASCII."""
    fields = [_graphic(_code(layout), layout.code_x, layout.code_y)]
    printers_own = [line for line in layout.lines if layout.font.is_default and line.text.isascii()]
    measure = min((line.width / _widest(layout, line) for line in printers_own), default=1.0)
    for line in layout.lines:
        own = line in printers_own
        fields.append(_text(line, min(1.0, measure)) if own else _text_graphic(layout, line))
    head = f"^XA^CI28^PW{layout.width}^LL{layout.height}^LH0,0^LS0"
    return "\n".join([head, *fields, "^PQ1", "^XZ", ""]).encode("ascii")


def _code(layout: Layout) -> Image.Image:
    side = len(layout.matrix) * layout.module
    drawn = raster.draw(layout)
    return drawn.crop((layout.code_x, layout.code_y, layout.code_x + side, layout.code_y + side))


def _text(line: TextLine, measure: float) -> str:
    height = int(line.size * measure)
    return f"^FT{line.x},{line.baseline}^A0N,{height}^FH_^FD{_escaped(line.text)}^FS"


def _widest(layout: Layout, line: TextLine) -> float:
    """What the line may measure in the printer's font, in dots."""
    face = layout.font.at(line.size)
    return sum(face.getlength(character) * _wider(character) for character in line.text)


def _wider(character: str) -> float:
    if character.isdigit():
        return _DIGIT
    if character.isalpha():
        return _CAPITAL if character.isupper() else _SMALL
    return _OTHER


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
