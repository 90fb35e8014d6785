"""`signerd order rehearse --chips`: long lists, and what is seen of them meanwhile."""

from __future__ import annotations

import os
import pty
import resource
import subprocess
from pathlib import Path

import pytest

from harness.edge import Edge
from harness.installation import SENSOR, order_toml
from harness.process import COMMANDS

CHIPS = 100_000
CPU_S = 60.0  # on one core


def rehearse(edge: Edge, directory: Path, chips: int, *, stderr: int) -> subprocess.CompletedProcess[bytes]:
    order, listed = directory / "order.toml", directory / "chips.txt"
    station = "birthmark://dev/station/plant1/lists"
    order.write_text(
        order_toml(
            "WO-LISTS", quantity=chips, stations=[station], product="lists", serial_pattern="LI-{number}"
        ),
        "utf-8",
    )
    macs = (
        f"7c:df:a1:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}\n" for number in range(chips)
    )
    listed.write_text("".join(macs), "utf-8")
    command: list[str | Path] = [
        COMMANDS / "signerd",
        "order",
        "rehearse",
        order,
        "--chips",
        listed,
        "-c",
        edge.installation.config,
    ]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, timeout=580, check=True)


@pytest.fixture(scope="module")
def lists(edge: Edge) -> Edge:
    product = SENSOR.replace('"sensor"', '"lists"', 1).replace(
        '["hmac-sha256"]', '["hmac-sha256"]\nchips = "listed"'
    )
    edge.installation.add_product(product)
    edge.add_peer("station/plant1/lists")
    return edge


def test_a_terminal_sees_how_far_it_is(lists: Edge, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    done = rehearse(lists, tmp_path, 1_500, stderr=theirs)
    os.close(theirs)
    seen = os.read(ours, 1 << 16).decode(errors="replace")  # a terminal's page may end within a character
    os.close(ours)
    assert "linting chips" in seen
    assert b"1500, each of them linted" in done.stdout


@pytest.mark.soak
def test_a_hundred_thousand_chips_take_less_than_a_minute_of_one_core(lists: Edge, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = rehearse(lists, tmp_path, CHIPS, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert b"100000, each of them linted" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < CPU_S
