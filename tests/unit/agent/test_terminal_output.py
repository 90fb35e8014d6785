"""What boards and signerd may put on the operator's terminal, whatever its size."""

from __future__ import annotations

import io
import re
from dataclasses import asdict, replace

import pytest
from rich.console import Console

from agent.adapters.shown.fan_out import fan_out
from agent.adapters.shown.live_state import LiveState
from agent.adapters.shown.signs import signs
from agent.adapters.shown.table import LiveTable, floor_view
from agent.core.events import BoardSeen, Finished, LineDown, LineUp, StepStarted, Waiting
from agent.core.floor import PortState
from agent.core.result import Outcome, Result, summarize
from harness.factory_floor import BAD, HELD, busy_floor, result

RESULT = Result("port-1", "WO-1", "CHIP-1", "BM-1", "aa", Outcome.FAIL, "stamp", "x", "no", "", 1.0, ())
ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e"


@pytest.mark.parametrize("field", ["port", "chip_id", "serial_number", "code", "detail", "remedy", "step"])
@pytest.mark.parametrize("outcome", list(Outcome))
def test_no_escape_sequence_reaches_the_terminal(field: str, outcome: Outcome) -> None:
    stream = io.StringIO()
    live = LiveState(ESCAPE, 14)
    with LiveTable(Console(file=stream, force_terminal=True, width=160), live.snapshot) as table:
        progress = fan_out(live, table)
        progress(BoardSeen("port-1", ESCAPE))
        progress(StepStarted("port-1", ESCAPE))
        progress(Waiting("port-1", ESCAPE))
        progress(Finished(replace(Result(**{**asdict(RESULT), field: ESCAPE}), outcome=outcome)))
        live.notice(ESCAPE)
        table.notice(ESCAPE)
    shown = stream.getvalue()
    assert "\x1b]0" not in shown
    assert "\x07" not in shown
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown


def drawn(ports: int, width: int, height: int) -> list[str]:
    return drawing(busy_floor(ports), width, height)


def drawing(live: LiveState, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, legacy_windows=False)
    console.print(floor_view(live.snapshot(), width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("ports", [1, 4, 16, 17, 40, 200])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 50), (200, 60), (80, 5)])
def test_the_table_fits_the_terminal(ports: int, width: int, height: int) -> None:
    lines = drawn(ports, width, height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width


def test_sixteen_ports_show_all_their_states_in_80_columns() -> None:
    lines = drawn(16, 80, 24)
    for number, words in {1: "PASS", 2: "flash 22 %", 3: "FAIL", 11: "waits: signerd", 12: "PARKED"}.items():
        assert words in lines[number]
    assert ["no board" in lines[15], "unplugged" in lines[16]] == [True, True]
    assert "1.3: Take the board to the repair desk" in "\n".join(lines[17:])


def test_few_ports_have_verdicts_three_lines_high() -> None:
    lines = drawn(4, 80, 24)
    assert sum("█" in line for line in lines) == 3 * 2  # two letters' lines of PASS, FAIL and PASS
    assert sum("▀   ▀" in line for line in lines) == 3


def test_ports_that_do_not_fit_are_counted() -> None:
    assert any("… 19 more ports" in line for line in drawn(40, 80, 24))


def test_time_of_the_second_board_on_a_port_runs() -> None:
    live = busy_floor(1)
    assert live.snapshot().ports[0].state is PortState.PASS
    live(BoardSeen("1.1", "B"))
    live(Finished(result("1.1", 9)))
    live(BoardSeen("1.1", "C"))
    port = live.snapshot().ports[0]
    assert (port.state, port.elapsed_s, port.percent) == (PortState.WORKING, 0.0, 0)


BY_PATH = [f"/dev/serial/by-path/pci-0000:00:14.0-usb-0:1.1.{n}:1.0-port0" for n in range(1, 17)]


def scrolled(live: LiveState, width: int, *events: object) -> str:
    """What these events print above the table."""
    stream = io.StringIO()
    table = LiveTable(Console(file=stream, width=width, color_system=None), live.snapshot)
    for event in events:
        fan_out(live, table)(event)  # type: ignore[arg-type]
    return stream.getvalue()


def test_remedies_have_the_names_of_their_rows_and_the_room() -> None:
    live = LiveState("WO-1", 14)
    live.ports_listed(BY_PATH)
    remedy = "Take the board to the repair desk: its flash fails"
    codes = ["storage_full", "wrong_digest", "no_key"]
    above = scrolled(
        live,
        80,
        *(
            Finished(replace(result(port, n, BAD), code=codes[n % 3], remedy=f"{n}: {remedy}"))
            for n, port in enumerate(BY_PATH)
        ),
    )
    lines = drawing(live, 80, 24)
    assert [line.split()[0] for line in lines[1:17]] == [f"1.1.{n}:1.0-port0" for n in range(1, 17)]
    assert lines[17] == f" 1.1.1:1.0-port0: 0: {remedy}"
    assert "by-path" not in "\n".join(lines)
    assert "FAIL 1.1.4:1.0-port0 " in above
    assert "by-path" not in above


def test_a_remedy_of_many_boards_is_one_line() -> None:
    live = LiveState("WO-1", 14)
    live.ports_listed(["1", "2", *BY_PATH])
    for port in BY_PATH:
        live(Finished(result(port, 1, BAD)))
    for port in ("1", "2"):
        live(Finished(replace(result(port, 2, BAD), remedy="Press reset")))
    assert drawing(live, 80, 22)[19:] == [" 1, 2: Press reset", f" 16 ports: {BAD.remedy}"[:79] + "…"]


def test_remedies_are_whole_where_there_is_room() -> None:
    live = LiveState("WO-1", 14)
    live.ports_listed(BY_PATH[:2])
    remedy = "Try another board. If it fails too, call the driver's maker: agent.log has a traceback."
    above = scrolled(
        live,
        200,
        *(Finished(replace(result(port, 1, BAD), chip_id="", remedy=remedy)) for port in BY_PATH[:2]),
    )
    assert f"2 ports: {remedy}" in " ".join(line.strip() for line in drawing(live, 80, 24))
    assert "FAIL 1.1.1:1.0-port0 first_boot_loops at" in above
    assert drawing(live, 80, 5)[-1].endswith("…")


@pytest.mark.parametrize("width", [80, 200])
def test_why_the_line_is_down_is_said_once(width: int) -> None:
    """Whole, below the ports, as long as it is down. Parked boards have their rows."""
    remedy = "Ask signerd's administrator: this station is revoked, and has to be enrolled anew under another"
    parked = replace(HELD, code="peer_revoked", detail="signerd refused", remedy=remedy)
    live = LiveState("WO-1", 14)
    live.ports_listed(["1", "2", "3", "4"])
    down = LineDown("peer_revoked", "signerd refused", remedy, stop=True)
    above = scrolled(live, width, down, *(Finished(result(str(n), n, parked)) for n in range(1, 5)))
    lines = drawing(live, width, 24)
    assert above.count("LINE DOWN peer_revoked: signerd refused") == 1
    assert above.count("PARKED") == 4
    assert (above + "".join(lines)).replace("\n", "").count("has to be enrolled anew") == 1
    assert sum("PARKED" in line for line in lines) == 4
    assert remedy in " ".join(line.strip() for line in lines)
    live(LineUp())
    assert "1, 2, 3, 4: Ask" in "\n".join(drawing(live, width, 24))


@pytest.mark.parametrize("height", [5, 6, 8, 24])
@pytest.mark.parametrize("ports", [1, 4, 40])
def test_a_table_without_its_line_fits_too(ports: int, height: int) -> None:
    live = busy_floor(ports)
    live(LineDown("line_silent", "x" * 200, "y " * 100, stop=False))
    lines = drawing(live, 80, height)
    assert len(lines) < height
    assert any("line_silent" in line for line in lines)


class Encoded(io.StringIO):
    """A terminal of some encoding, before its bytes."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


@pytest.mark.parametrize("encoding", ["ascii", "ANSI_X3.4-1968", "cp437", "cp1252", "iso8859-1", "utf-8"])
@pytest.mark.parametrize("ports", [4, 16, 40])
def test_a_table_is_as_wide_as_its_encoding_prints_it(encoding: str, ports: int) -> None:
    """No sign is printed as its escape, and a text that has some is laid out with them: no line breaks."""
    live = busy_floor(ports)
    live(Finished(replace(result("1.3", 3, BAD), serial_number="Prüfling №3 …", remedy="→ " * 60)))
    live(LineDown("line_silent", "…", "Nürnberg → " * 20, stop=False))
    stream = Encoded(encoding)
    with LiveTable(
        Console(file=stream, width=80, height=24, force_terminal=True, color_system=None), live.snapshot
    ) as table:
        table.begin()
    printed = (
        stream.getvalue().translate(signs(encoding)).encode(encoding, "backslashreplace").decode(encoding)
    )
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed).splitlines()
    assert max(map(len, lines)) <= 80
    assert "\\u2588" not in printed
    assert "\\u2026" not in printed
    assert ("\\u2192" in printed) == (encoding != "utf-8")  # a text of others says what it is
    if ports == 4:
        assert any(sign * 3 in printed for sign in ("▀", '"'))


def test_what_is_printed_above_fits_too() -> None:
    stream = Encoded("ascii")
    table = LiveTable(Console(file=stream, width=80), LiveState("WO-1", 14).snapshot)
    table.notice("Prüfling [bold]3 → 4")
    assert stream.getvalue() == "Pr\\xfcfling [bold]3 \\u2192 4\n"


def test_a_start_that_is_refused_leaves_the_terminal_to_what_it_says() -> None:
    stream = io.StringIO()
    with LiveTable(
        Console(file=stream, width=80, force_terminal=True), LiveState("WO-1", 14).snapshot
    ) as table:
        table.notice("no serial port is called /dev/ttyUSB9: waiting for it")
        table.summary(summarize([]))
    assert "waiting for it" in stream.getvalue()
    assert "checking this station" in stream.getvalue()  # as long as it takes
    assert stream.getvalue().endswith("\x1b[2K")
    assert "WO-1" not in stream.getvalue()
    assert "Summary" not in stream.getvalue()


@pytest.mark.parametrize("parked", [False, True])
def test_no_figure_of_boards_that_are_none(parked: bool) -> None:
    stream = io.StringIO()
    live = LiveState("WO-1", 14)
    results = [result("1.1", 1, HELD)] * parked
    with LiveTable(Console(file=stream, width=80, force_terminal=True), live.snapshot) as table:
        table.begin()
        for one in results:
            fan_out(live, table)(Finished(one))
        assert "yield -" in drawing(live, 80, 24)[0]
        table.summary(summarize(results))
    assert "Summary" in stream.getvalue()
    assert "0.0 %" not in stream.getvalue()
    assert "0.00 s" not in stream.getvalue()
