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
    printed = Printed()
    assert _COMMAND.sub("", text).strip() == "", "bytes outside of commands"
    x = y = 0
    hexadecimal = False
    for sign, name, rest in _COMMAND.findall(text):
        parameters = rest.strip("\n")
        printed.commands.append(sign + name)
        if name in {"FO", "FT"}:
            x, y = map(int, parameters.split(","))
        elif name == "PW":
            printed.width = int(parameters)
        elif name == "LL":
            printed.height = int(parameters)
        elif name == "GF":
            printed.graphics.append((x, y, _graphic(parameters)))
        elif name == "FH":
            hexadecimal = True
        elif name == "FD":
            raw = parameters.encode("ascii")
            if hexadecimal:
                raw = _HEX.sub(lambda match: bytes.fromhex(match[1].decode()), raw)
            printed.texts.append(raw.decode("utf-8"))
        elif name == "FS":
            hexadecimal = False
        elif name == "XZ":
            printed.labels += 1
    return printed


def _graphic(parameters: str) -> Image.Image:
    form, count, total, row_bytes, data = parameters.split(",")
    rows = bytes.fromhex(data)
    assert form == "A"
    assert int(count) == int(total) == len(rows)
    inverted = bytes(byte ^ 0xFF for byte in rows)  # in ZPL a one is black
    return Image.frombytes("1", (int(row_bytes) * 8, len(rows) // int(row_bytes)), inverted)
