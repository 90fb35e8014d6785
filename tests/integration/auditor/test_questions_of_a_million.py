"""Questions to a state of a million boards: each filtered one within 50 ms, by its index; bounded memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from auditor.adapters.questions import acts, boards, chips, orders, stations
from auditor.adapters.questions.orders import Choice
from auditor.adapters.questions.reading import Reading
from auditor.adapters.questions.stations import Asked
from auditor.adapters.state import FILE, MARKS
from auditor.core.questions.kinds import Kinds
from auditor.core.questions.periods import Period, period
from harness.many_boards import chip, fill
from harness.paper_log import STATION

BOARDS = 1_000_000
WITHIN_S = 0.05
MOST_BYTES = 300  # of state, a board
ALL = Kinds()
MEMORY = 32 << 20  # bytes, of Python, for an answer of any length

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3_600)]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("million") / "state"
    fill(directory, BOARDS)
    return directory


@pytest.fixture
def reading(state: Path) -> Iterator[Reading]:
    with Reading.open(state) as opened:
        opened.as_of()
        yield opened


def missing(**choice: Any) -> Callable[[Reading], Iterator[dict[str, Any]]]:
    values: dict[str, Any] = {"order": "", "station": "", "older_than_s": 0, "kinds": ALL} | choice
    return lambda reading: boards.missing(reading, **values)


def one_day(reading: Reading) -> Period:
    day = datetime.fromtimestamp(reading.newest_at - 40 * 86_400, UTC).strftime("%Y-%m-%d")
    return period(day, day)


FILTERED: dict[str, Callable[[Reading], Iterator[dict[str, Any]]]] = {
    "missing of an order": missing(order="WO-7"),
    "missing of a station": missing(station=STATION),
    "missing of an order and a station": missing(order="WO-7", station=STATION),
    "missing for long": missing(older_than_s=200 * 86_400, kinds=Kinds(firmware={"app": "1.2.3"})),
    "missing with firmware": missing(
        kinds=Kinds(firmware={"app": "1.2.0"}, level="key", method="hmac-sha256")
    ),
    "an order": lambda reading: orders.orders(
        reading, order="WO-7", product="", choice=Choice.ALL, at_close=False
    ),
    "all orders": lambda reading: orders.orders(
        reading, order="", product="", choice=Choice.ALL, at_close=False
    ),
    "a doubtful day": lambda reading: boards.doubt(
        reading, station=STATION, period=one_day(reading), kinds=ALL
    ),
    "a doubtful day with firmware": lambda reading: boards.doubt(
        reading, station=STATION, period=one_day(reading), kinds=Kinds(firmware={"app": "1.2.1"})
    ),
    "a station's days": lambda reading: stations.stations(reading, Asked(Period(), ALL, STATION)),
    "all stations of a day": lambda reading: stations.stations(reading, Asked(one_day(reading), ALL)),
    "a person": lambda reading: acts.acts(reading, person="carol", act="", period=Period()),
}


@pytest.mark.parametrize("name", FILTERED)
def test_a_filtered_question_is_answered_within_50_ms(reading: Reading, name: str) -> None:
    times, rows = [], 0
    for _ in range(5):
        began = time.perf_counter()
        rows = sum(1 for _ in FILTERED[name](reading))
        times.append(time.perf_counter() - began)
    print(f"{name}: {rows} rows, {min(times) * 1000:.1f} ms at best, {max(times) * 1000:.1f} at worst")
    assert rows
    assert min(times) < WITHIN_S  # the machine may have other things to do


def test_opening_takes_milliseconds(state: Path) -> None:
    began = time.perf_counter()
    with Reading.open(state) as reading:
        reading.as_of()
    assert time.perf_counter() - began < WITHIN_S


def test_the_state_of_a_board_is_small(state: Path) -> None:
    size = (state / FILE).stat().st_size + sum(file.stat().st_size for file in (state / MARKS).iterdir())
    print(f"{size / BOARDS:.1f} bytes a board")
    assert size / BOARDS < MOST_BYTES


def test_answers_of_any_length_take_bounded_memory(reading: Reading, state: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("".join(f"{chip(number)}\n" for number in range(0, BOARDS, 2)), "ascii")
    began = time.perf_counter()
    assert sum(1 for _ in chips.against(reading, tmp_path / "list", order="", kinds=ALL)) == BOARDS // 2
    print(f"a list of {BOARDS // 2} chips: {time.perf_counter() - began:.1f} s")
    tracemalloc.start()
    try:
        assert (
            sum(1 for _ in boards.doubt(reading, station=STATION, period=Period(), kinds=ALL)) == BOARDS // 10
        )
        assert sum(1 for _ in stations.stations(reading, Asked(Period(), ALL))) > 2_000
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    began = time.perf_counter()
    assert sum(1 for _ in chips.refused_before(reading, state / MARKS, order="", kinds=ALL)) == len(
        range(0, BOARDS, 49)
    )
    print(f"chips refused before: {time.perf_counter() - began:.1f} s")
