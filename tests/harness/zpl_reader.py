"""Reads ZPL II as a printer does, and nothing of what made it: commands, graphics as dots, texts as text.

A command begins with `^` or `~` wherever one stands; its parameters go on to the next one. Zebra, "ZPL II
Programming Guide": ^FH, ^GF, ^FO, ^FT, ^A.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from PIL import Image

_COMMAND = re.compile(r"([\^~])(A|[A-Z][A-Z0-9@])([^\^~]*)", re.DOTALL)
_HEX = re.compile(rb"_([0-9A-Fa-f]{2})")


@dataclass
class Printed:
    """What a printer made of one stream."""

    width: int = 0
    height: int = 0
    labels: int = 0
    commands: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    graphics: list[tuple[int, int, Image.Image]] = field(default_factory=list)

    def picture(self) -> Image.Image:
        """The graphics on white paper, mode "L"."""
        paper = Image.new("L", (self.width, self.height), 255)
        for x, y, image in self.graphics:
            paper.paste(image.convert("L"), (x, y))
        return paper


def read_zpl(data: bytes) -> Printed:
    """Everything in the stream, which is ASCII and holds nothing between its commands."""
    text = data.decode("ascii")
    assert _COMMAND.sub("", text).strip() == "", "bytes outside of commands"
    printed = Printed()
    place, hexadecimal = (0, 0), False
    for sign, name, rest in _COMMAND.findall(text):
        parameters = rest.strip("\n")
        printed.commands.append(sign + name)
        match name:
            case "PW":
                printed.width = int(parameters)
            case "LL":
                printed.height = int(parameters)
            case "FO" | "FT":
                across, down = parameters.split(",")
                place = (int(across), int(down))
            case "GF":
                printed.graphics.append((*place, _graphic(parameters)))
            case "FH":
                hexadecimal = True
            case "FD":
                printed.texts.append(_text(parameters, hexadecimal=hexadecimal))
            case "FS":
                hexadecimal = False
            case "XZ":
                printed.labels += 1
    return printed


def _text(parameters: str, *, hexadecimal: bool) -> str:
    raw = parameters.encode("ascii")
    if hexadecimal:
        raw = _HEX.sub(lambda match: bytes.fromhex(match[1].decode()), raw)
    return raw.decode("utf-8")


def _graphic(parameters: str) -> Image.Image:
    form, count, total, row_bytes, data = parameters.split(",")
    rows = bytes.fromhex(data)
    assert form == "A"
    assert int(count) == int(total) == len(rows)
    inverted = bytes(byte ^ 0xFF for byte in rows)  # in ZPL a one is black
    return Image.frombytes("1", (int(row_bytes) * 8, len(rows) // int(row_bytes)), inverted)
