"""Where everything stands on one label, in dots of the printer. All renderings draw this and nothing else.

The code's modules are whole dots. Its quiet zone is on the label and free of text; text stays in the margins.
The largest modules are taken that leave room for the text at its own size. Where even the smallest do not,
lines that are too long are made smaller, down to what can be read; then the label is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import segno

from agent.adapters.labels.font import LabelFont
from agent.core.label import Label
from agent.core.label_pattern import LabelContentError, parse_pattern
from agent.core.label_template import MIN_TEXT_MM, LabelTemplate

MM_PER_INCH = 25.4
_MOST_LEADING = 0.5  # of a line's height, between lines beside a code that is taller than they are


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line: where its baseline begins, and how wide it is."""

    text: str = field(repr=False)
    x: int
    baseline: int
    size: float
    width: int


@dataclass(frozen=True, slots=True)
class Layout:
    """One label. It holds the proof-of-possession code, in the matrix and perhaps in a line."""

    width: int
    height: int
    dpi: int
    matrix: tuple[bytes, ...] = field(repr=False)  # rows of 0 and 1, without a quiet zone
    module: int  # dots
    code_x: int  # of the first module
    code_y: int
    lines: tuple[TextLine, ...] = field(repr=False)
    font: LabelFont = field(repr=False)

    @property
    def module_mm(self) -> float:
        """A module's side."""
        return self.module * MM_PER_INCH / self.dpi


@dataclass(frozen=True, slots=True)
class _Measured:
    """A line before it has a place."""

    text: str = field(repr=False)
    size: float
    width: int
    ascent: int
    descent: int


class DoesNotFitError(ValueError):
    """The label is too small for what it is to say. The text never shows the code."""


def lay_out(template: LabelTemplate, label: Label, font: LabelFont) -> Layout:
    """Lays out one label.

    Raises:
        DoesNotFitError: code or text need more room, even at their smallest.
        LabelContentError: a value cannot stand on a label.
    """
    matrix = _matrix(template.code.payload(label), template.code.error_correction)
    sheet = _Sheet(template, len(matrix))
    texts = [(parse_pattern(line.text).fill(label), line.size_mm) for line in template.lines]
    for text, _ in texts:
        font.check(text)
    sizes = [sheet.dots(size_mm or template.text_mm) for _, size_mm in texts]
    lines = [_measured(text, size, font) for (text, _), size in zip(texts, sizes, strict=True)]
    for module in sheet.modules():
        if sheet.room(module).takes(lines):
            return sheet.placed(matrix, module, lines, font)
    module = sheet.smallest
    room = sheet.room(module)
    lines = [_shrunk(line, room.width, sheet.dots(MIN_TEXT_MM), font) for line in lines]
    if not room.takes(lines):
        raise DoesNotFitError(
            "the text does not fit beside the code: take a larger label, or smaller, fewer or shorter lines"
        )
    return sheet.placed(matrix, module, lines, font)


@dataclass(frozen=True, slots=True)
class _Room:
    """Where the text goes."""

    x: int
    y: int
    width: int
    height: int

    def takes(self, lines: Sequence[_Measured]) -> bool:
        return all(line.width <= self.width for line in lines) and _height(lines) <= self.height


class _Sheet:
    """The label's measures in dots, for a code of so many modules a side."""

    def __init__(self, template: LabelTemplate, modules: int) -> None:
        self._template = template
        self._modules = modules
        self.width = round(self.dots(template.width_mm))
        self.height = round(self.dots(template.height_mm))
        self.margin = math.ceil(self.dots(template.margin_mm))
        self.smallest = math.ceil(self.dots(template.code.module_mm) - 1e-9)
        if not self._largest >= self.smallest:
            least_mm = self.smallest * modules * MM_PER_INCH / template.dpi
            raise DoesNotFitError(
                f"the code has {modules} modules a side, and takes {least_mm:.1f} mm and its quiet zone at "
                f"{template.code.module_mm:g} mm a module: take a larger label (or `size_mm` of the code), "
                "a shorter payload, or a lower error correction"
            )

    def dots(self, mm: float) -> float:
        return mm * self._template.dpi / MM_PER_INCH

    def _inset(self, module: int) -> int:
        return max(self.margin, self._template.code.quiet_zone * module)

    @property
    def _largest(self) -> int:
        side = min(self.width, self.height)
        module = side // self._modules
        while module and self._modules * module + 2 * self._inset(module) > side:
            module -= 1
        if self._template.code.size_mm is not None:
            module = min(module, int(self.dots(self._template.code.size_mm) / self._modules))
        return module

    def modules(self) -> Iterator[int]:
        """Sizes of a module, largest first."""
        yield from range(self._largest, self.smallest - 1, -1)

    def room(self, module: int) -> _Room:
        """What is left for text beside a code with such modules."""
        inset, side = self._inset(module), self._modules * module
        edge = inset + side + max(self.margin, self._template.code.quiet_zone * module)
        if self._template.text_position == "right":
            return _Room(edge, self.margin, self.width - self.margin - edge, self.height - 2 * self.margin)
        return _Room(self.margin, edge, self.width - 2 * self.margin, self.height - self.margin - edge)

    def placed(
        self, matrix: tuple[bytes, ...], module: int, lines: Sequence[_Measured], font: LabelFont
    ) -> Layout:
        room, inset, side = self.room(module), self._inset(module), self._modules * module
        beside = self._template.text_position == "right"
        leading = _leading(lines, side) if beside else 0
        block = _height(lines) + leading * (len(lines) - 1)
        spare = (room.height - block) // 2
        top = room.y + spare
        placed = []
        for line in lines:
            x = room.x if beside else (self.width - line.width) // 2
            placed.append(TextLine(line.text, x, top + line.ascent, line.size, line.width))
            top += line.ascent + line.descent + leading
        return Layout(
            width=self.width,
            height=self.height,
            dpi=self._template.dpi,
            matrix=matrix,
            module=module,
            code_x=inset if beside else (self.width - side) // 2,
            code_y=(self.height - side) // 2 if beside else inset + spare,
            lines=tuple(placed),
            font=font,
        )


def _matrix(payload: str, error_correction: str) -> tuple[bytes, ...]:
    try:
        code = segno.make_qr(payload, error=error_correction)
    except ValueError:  # segno.DataOverflowError; without its cause, which is not ours to word
        raise DoesNotFitError("no code holds so long a payload: shorten it") from None
    return tuple(bytes(row) for row in code.matrix)


def _measured(text: str, size: float, font: LabelFont) -> _Measured:
    face = font.at(size)
    ascent, descent = face.getmetrics()
    left, _, right, _ = face.getbbox(text, anchor="ls")
    if left < 0 and right <= 0:
        raise LabelContentError("a line of the label has nothing to print")
    return _Measured(text, size, math.ceil(max(right, face.getlength(text))), ascent, descent)


def _shrunk(line: _Measured, width: int, least: float, font: LabelFont) -> _Measured:
    """The line made to fit into the width, or as small as it may be."""
    size = line.size
    while line.width > width and size > least:
        size = max(least, min(size * width / line.width, size * 0.98))
        line = _measured(line.text, size, font)
    return line


def _leading(lines: Sequence[_Measured], side: int) -> int:
    """Space between lines, so that they stand along the whole code."""
    if len(lines) < 2:
        return 0
    free = (side - _height(lines)) // (len(lines) - 1)
    most = int(_MOST_LEADING * min(line.ascent + line.descent for line in lines))
    return max(0, min(free, most))


def _height(lines: Sequence[_Measured]) -> int:
    return sum(line.ascent + line.descent for line in lines)
