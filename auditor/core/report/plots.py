"""Bars as inline SVG: no script, no style attribute, nothing from elsewhere. Every text is escaped.

bars("Boards by day", ("made", "stamped"), [("2026-11-01", (12, 11)), …])
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT = 720, 220  # px
_LEFT, _TOP, _BOTTOM = 48, 12, 42  # px; for the numbers, above the bars, and for their names
_SHOWN = 16  # names below the bars, at most
_NAME = 14  # characters of one


def bars(title: str, series: Sequence[str], rows: Sequence[tuple[str, Sequence[int]]]) -> str:
    """Groups of bars, one group a row, one bar a series, with classes `s0`, `s1`, … for their colours.

    Args:
        title: read out by programs that cannot show the picture.
        series: what the bars are.
        rows: name and values; none may be negative.
    """
    top = _scale(max((value for _, values in rows for value in values), default=0))
    width, height = _WIDTH - _LEFT, _HEIGHT - _TOP - _BOTTOM
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
    ]
    for line in range(5):
        y = _TOP + height - height * line / 4
        label = f"{top * line / 4:g}"
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH}"/>')
        parts.append(f'<text class="number" x="{_LEFT - 6}" y="{y + 4:.1f}">{label}</text>')
    group = width / max(1, len(rows))
    each = min(28.0, group * 0.8 / max(1, len(series)))
    every = -(-len(rows) // _SHOWN)
    for at, (name, values) in enumerate(rows):
        middle = _LEFT + group * (at + 0.5)
        left = middle - each * len(series) / 2
        for number, value in enumerate(values):
            size = height * value / top
            y = _TOP + height - size
            parts.append(
                f'<rect class="s{number}" x="{left + each * number:.1f}" y="{y:.1f}" width="{each:.1f}"'
                f' height="{size:.1f}"><title>{escape(name)}: {value} {escape(series[number])}</title></rect>'
            )
        if at % every == 0:
            shown = name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"
            parts.append(
                f'<text class="name" x="{middle:.1f}" y="{_HEIGHT - _BOTTOM + 16}">{escape(shown)}</text>'
            )
    for number, name in enumerate(series):
        x = _LEFT + 110 * number
        parts.append(f'<rect class="s{number}" x="{x}" y="{_HEIGHT - 14}" width="10" height="10"/>')
        parts.append(f'<text x="{x + 15}" y="{_HEIGHT - 5}">{escape(name)}</text>')
    parts.append("</svg>")
    return "".join(parts)


def _scale(largest: int) -> int:
    """The end of the axis: four whole steps of 1, 2, 3 or 5 times a power of ten."""
    step = 1
    while 20 * step < largest:
        step *= 10
    return next(4 * times * step for times in (1, 2, 3, 5) if 4 * times * step >= largest)
