"""Contrast (WCAG 2.2, 1.4.3), and what a deuteranope sees (Machado, Oliveira, Fernandes 2009, severity 1)."""

from __future__ import annotations

import re
from math import dist

Rgb = tuple[float, float, float]
_DEUTERANOPE = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)
_TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
_WHITE = (0.9505, 1.0, 1.089)


def parse(text: str) -> Rgb:
    """`rgb(1, 2, 3)` or `rgba(1, 2, 3, 1)` as shares of 1."""
    red, green, blue = (float(part) / 255 for part in re.findall(r"[0-9.]+", text)[:3])
    return red, green, blue


def contrast(one: str, other: str) -> float:
    """1 to 21."""
    darker, lighter = sorted(_times(_TO_XYZ, _linear(parse(colour)))[1] for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def seen_apart(one: str, other: str) -> float:
    """The distance of two colours to a deuteranope: CIE 1976, 2.3 is just noticeable."""
    seen = [_lab(_times(_DEUTERANOPE, _linear(parse(colour)))) for colour in (one, other)]
    return dist(*seen)


def _linear(colour: Rgb) -> Rgb:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return red, green, blue


def _times(matrix: tuple[Rgb, Rgb, Rgb], vector: Rgb) -> Rgb:
    one, two, three = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return one, two, three


def _lab(linear: Rgb) -> Rgb:
    xyz = _times(_TO_XYZ, tuple(min(max(c, 0.0), 1.0) for c in linear))  # type: ignore[arg-type]
    fx, fy, fz = (
        t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116
        for t in (value / white for value, white in zip(xyz, _WHITE, strict=True))
    )
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)
