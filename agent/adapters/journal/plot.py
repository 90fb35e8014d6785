"""Draws where a shift's seconds went. Only `report --plot` imports this module, and only it matplotlib."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.port_names import short_names
from agent.core.result import yield_words
from agent.core.shift_report import SIGNERD_STEPS, ShiftReport
from agent.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".svg", ".png", ".pdf")
_STEP, _SIGNERD, _PASS, _FAIL, _IDLE = "#3b6ea5", "#d98e04", "#1f8f4e", "#d13438", "#c3c9d0"
_HOURS = 72  # bars that can be told apart
_NAME = 24  # characters beside an axis
_PORTS = 32


def draw(report: ShiftReport, path: Path, title: str) -> None:
    """Writes the plot; its form is that of the file's suffix.

    Raises:
        ConfigError: matplotlib is not installed, the suffix is unknown, or the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        detail = f"--plot {path}: must end in {', '.join(SUFFIXES)}"
        raise ConfigError(detail, remedy="Give the file one of these endings.")
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 -- an extra of its own
    except ImportError as error:
        raise ConfigError(
            "--plot needs matplotlib, which is not installed",
            remedy="Install from a wheelhouse of `agent-esp32`, or take the figures of --json.",
        ) from error
    figure = Figure(figsize=(11, 7.5), layout="constrained", facecolor="white")
    steps, ports, hours = figure.subplot_mosaic(
        [["steps", "steps"], ["ports", "hours"]], height_ratios=[max(len(report.steps), 4), 7]
    ).values()
    figure.suptitle(title.replace("$", r"\$"), fontsize=13, fontweight="bold", ha="left", x=0.01)
    _draw_steps(steps, report)
    _draw_ports(ports, report)
    _draw_hours(hours, report)
    for axes in (steps, ports, hours):
        axes.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", remedy="Name another file.") from error


def _draw_steps(axes: Axes, report: ShiftReport) -> None:
    """A bar of all boards' time in each step, and what one board takes."""
    steps = report.steps
    colours = [_SIGNERD if step.step in SIGNERD_STEPS else _STEP for step in steps]
    minutes = [step.total_s / 60 for step in steps]
    axes.barh(range(len(steps)), minutes, color=colours)
    longest = max(minutes, default=0.0) or 1.0
    for place, step in enumerate(steps):
        words = f"{step.share_percent:.0f} %   median {step.median_s:.1f} s, p90 {step.p90_s:.1f} s"
        axes.text(minutes[place] + longest / 100, place, words, va="center", fontsize=9)
    axes.set_yticks(range(len(steps)), [_short(step.step) for step in steps])
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.32)
    axes.set_xlabel("minutes of all boards together")
    axes.set_title(
        f"Steps; waiting for signerd {report.signerd_percent:.1f} % (yellow)", loc="left", fontsize=11
    )


def _draw_ports(axes: Axes, report: ShiftReport) -> None:
    ports = report.ports[:_PORTS]
    names = short_names([port.port for port in ports], _NAME)
    busy, idle = [port.busy_s / 60 for port in ports], [port.idle_s / 60 for port in ports]
    axes.barh(range(len(ports)), busy, color=_STEP, label="boards")
    axes.barh(range(len(ports)), idle, left=busy, color=_IDLE, label="between boards")
    axes.set_yticks(range(len(ports)), [_short(names[port.port]) for port in ports], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("minutes")
    left_out = len(report.ports) - len(ports)
    axes.set_title(f"Ports{f' ({left_out} more)' if left_out else ''}", loc="left", fontsize=11)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8)


def _draw_hours(axes: Axes, report: ShiftReport) -> None:
    hours = report.hours[-_HOURS:]
    places = range(len(hours))
    passed = [hour.passed for hour in hours]
    axes.bar(places, passed, color=_PASS, label="passed")
    axes.bar(places, [hour.failed for hour in hours], bottom=passed, color=_FAIL, label="failed")
    if len(hours) <= 12:
        for place, hour in enumerate(hours):
            words = f"{hour.yield_percent:.0f} %" if hour.passed + hour.failed else ""
            axes.text(place, hour.passed + hour.failed, words, ha="center", va="bottom", fontsize=8)
    every = max(len(hours) // 12, 1)
    names = [f"{datetime.fromisoformat(hour.hour):%H:%M}" for hour in hours]
    axes.set_xticks(places[::every], names[::every], fontsize=8, rotation=45 if len(hours) > 8 else 0)
    axes.margins(y=0.12)
    axes.set_ylabel("boards")
    title = f"Boards and yield by hour; all: {yield_words(report.passed, report.failed)}"
    axes.set_title(title, loc="left", fontsize=11)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8)


def _short(text: str) -> str:
    """A name that fits beside an axis; in matplotlib a pair of dollar signs would begin a formula."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    short = plain if len(plain) <= _NAME else f"…{plain[1 - _NAME :]}"
    return short.replace("$", r"\$")
