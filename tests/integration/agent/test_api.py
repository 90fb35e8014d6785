"""The station as a library, with boards on ptys and a signerd on paper."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.journal.recordings import list_recordings
from agent.adapters.journal.schema import FILE_NAME
from agent.api import (
    BadAnswer,
    BoardSeen,
    ConfigError,
    Event,
    Finished,
    JournalError,
    Outcome,
    Station,
    StepDone,
    StepProgress,
    StepStarted,
    Waiting,
    provision_board,
)
from agent.config import BundleFiles, Config, LabelPlace, Results, load
from agent.errors import SignerUnavailable
from agent.replay import read_recording, replay
from harness.agent_process import AgentBench

ORDER = "WO-1"
TIMEOUT_S = 60.0
EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"


@pytest.fixture(name="bench")
async def make_bench(tmp_path: Path) -> AsyncIterator[AgentBench]:
    async with AgentBench(tmp_path) as bench:
        yield bench


def quick(bench: AgentBench, **changed: object) -> Config:
    """The station's configuration, which waits for nobody for long."""
    config = load(bench.config)
    return config.model_copy(
        update={
            "timeouts": config.timeouts.model_copy(update={"stamp_wait_s": 0.1, "signer_wait_s": 0.5}),
            "drivers": {"smp": {"timeout_s": 0.3, "failures": 1}},
            **changed,
        }
    )


def journalled(bench: AgentBench) -> list[tuple[str, str, str]]:
    connection = sqlite3.connect(load(bench.config).state / FILE_NAME)
    try:
        return connection.execute("SELECT port, chip_id, outcome FROM run ORDER BY id").fetchall()
    finally:
        connection.close()


async def test_board_passes_and_its_events_tell_how(bench: AgentBench) -> None:
    board = bench.board("CHIP-1")
    events: list[Event] = []
    async with Station(bench.config) as station:
        result = await station.provision(board.port, ORDER, events.append)
    assert (result.outcome, result.serial_number) == (Outcome.PASS, "BM-000001")
    assert events[0] == BoardSeen(board.port, "CHIP-1")
    assert events[-1] == Finished(result)
    steps = [event.step for event in events if isinstance(event, StepStarted)]
    assert steps == [event.step for event in events if isinstance(event, StepDone)]
    assert set(steps) == {time.step for time in result.times}
    assert {event.step for event in events if isinstance(event, StepProgress)} >= {"install", "configure"}


async def test_without_asyncio(bench: AgentBench) -> None:
    board = bench.board("CHIP-1")
    events: list[Event] = []
    result = await asyncio.to_thread(provision_board, str(bench.config), board.port, ORDER, events.append)
    assert result.outcome is Outcome.PASS
    assert events[-1] == Finished(result)


async def test_ports_at_once_tell_their_own_callbacks(bench: AgentBench) -> None:
    boards = [bench.board(f"CHIP-{number}") for number in range(4)]
    told: dict[str, list[Event]] = {board.port: [] for board in boards}
    async with Station(bench.config) as station:
        results = await asyncio.gather(
            *(station.provision(board.port, ORDER, told[board.port].append) for board in boards)
        )
    assert [result.outcome for result in results] == [Outcome.PASS] * 4
    for board, result in zip(boards, results, strict=True):
        events = told[board.port]
        assert events[-1] == Finished(result)
        assert {event.port for event in events if not isinstance(event, Finished)} == {board.port}
    recordings = list_recordings(load(bench.config).state)
    assert len(recordings) == 4
    for recording in recordings:
        replayed = await replay(read_recording(recording.path.read_bytes()))
        assert (replayed.differences, replayed.result.outcome) == ((), Outcome.PASS)


async def test_results_go_where_the_configuration_says(bench: AgentBench, tmp_path: Path) -> None:
    folder, told = tmp_path / "mes", tmp_path / "told"
    folder.mkdir()
    command = ("sh", "-c", f'cat >> "{told}"')
    config = quick(bench, results=Results(folder=folder, command=command))
    async with Station(config) as station:
        result = await station.provision(bench.board("CHIP-1").port, ORDER)
    (exported,) = folder.glob("*.jsonl")
    assert exported.read_text() == told.read_text()
    row = json.loads(told.read_text())
    assert (row["chip_id"], row["outcome"]) == (result.chip_id, "PASS")


async def test_results_command_that_fails_goes_to_the_log(
    bench: AgentBench, caplog: pytest.LogCaptureFixture
) -> None:
    config = quick(bench, results=Results(command=("sh", "-c", "echo 100% wrong >&2; exit 7")))
    async with Station(config) as station:
        result = await station.provision(bench.board("CHIP-1").port, ORDER)
    assert result.outcome is Outcome.PASS
    assert "exit code 7: 100% wrong" in caplog.text


async def test_results_folder_that_is_not_there(bench: AgentBench, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes no files: No such file"):
        async with Station(quick(bench, results=Results(folder=tmp_path / "mes"))):
            pass


async def test_port_without_a_board_is_a_result(bench: AgentBench) -> None:
    async with Station(quick(bench)) as station:
        result = await station.provision("/dev/does-not-exist", ORDER)
    assert (result.outcome, result.step) == (Outcome.FAIL, "identify")
    assert result.code.startswith("port_")


async def test_signerd_that_is_away_is_a_result(bench: AgentBench) -> None:
    board = bench.board("CHIP-1")
    bench.signerd.company.before["open_session"] = [SignerUnavailable("the line is down")] * 100
    events: list[Event] = []
    async with Station(quick(bench)) as station:
        result = await station.provision(board.port, ORDER, events.append)
    assert (result.outcome, result.code) == (Outcome.PARKED, "signer_unavailable")
    assert events[-1] == Finished(result)
    assert [event for event in events if isinstance(event, Waiting)]


async def test_callback_that_raises_harms_no_board(
    bench: AgentBench, caplog: pytest.LogCaptureFixture
) -> None:
    board = bench.board("CHIP-1")

    def broken(event: Event) -> None:
        raise ValueError(f"cannot show {event}")

    async with Station(bench.config) as station:
        assert (await station.provision(board.port, ORDER, broken)).outcome is Outcome.PASS
    assert "the callback for port" in caplog.text


async def test_port_that_is_provisioned_already(bench: AgentBench) -> None:
    board = bench.board("CHIP-1")
    refused: list[str] = []
    async with Station(bench.config) as station:

        def again(event: Event) -> None:
            if isinstance(event, BoardSeen):
                second.append(asyncio.ensure_future(station.provision(board.port, ORDER)))

        second: list[asyncio.Future[object]] = []
        assert (await station.provision(board.port, ORDER, again)).outcome is Outcome.PASS
        (outcome,) = await asyncio.gather(*second, return_exceptions=True)
        refused.append(str(outcome))
        assert isinstance(outcome, ValueError)
        # Afterwards the port is free: the board is found done.
        assert (await station.provision(board.port, ORDER)).outcome is Outcome.PASS
    assert "already" in refused[0]


async def test_cancelled_board_is_parked(bench: AgentBench) -> None:
    board = bench.board("CHIP-1", keygen_s=3600.0)
    making = asyncio.Event()

    def watch(event: Event) -> None:
        if isinstance(event, StepStarted) and event.step == "keygen":
            making.set()

    async with Station(bench.config) as station:
        running = asyncio.create_task(station.provision(board.port, ORDER, watch))
        async with asyncio.timeout(TIMEOUT_S):
            await making.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert journalled(bench) == [(board.port, "CHIP-1", "PARKED")]


async def test_place_on_the_line_is_what_is_shown_and_journalled(bench: AgentBench) -> None:
    board = bench.board("CHIP-1")
    events: list[Event] = []
    async with Station(quick(bench, places={board.port: "left 3"})) as station:
        result = await station.provision(board.port, ORDER, events.append)
    assert result.port == "left 3"
    assert events[0] == BoardSeen("left 3", "CHIP-1")
    assert journalled(bench) == [("left 3", "CHIP-1", "PASS")]


async def test_stamp_that_waits_is_sent_while_a_station_is_open(bench: AgentBench) -> None:
    board = bench.board("CHIP-1")
    company = bench.signerd.company
    company.before["record_stamp"] = [SignerUnavailable("the line is down")] * 1000
    async with Station(quick(bench)) as station:
        result = await station.provision(board.port, ORDER)
        assert (result.outcome, result.step) == (Outcome.PARKED, "record")
    company.before["record_stamp"] = []
    async with Station(quick(bench)):
        async with asyncio.timeout(TIMEOUT_S):
            while journalled(bench)[0][2] != "PASS":  # noqa: ASYNC110 -- another thread writes the file
                await asyncio.sleep(0.05)
    assert company.boards["CHIP-1"].stamp is not None


async def test_answer_that_proves_nothing_lets_no_further_board_begin(bench: AgentBench) -> None:
    first, second = bench.board("CHIP-1"), bench.board("CHIP-2")
    company = bench.signerd.company
    company.before["record_stamp"] = [SignerUnavailable("the line is down")] * 1000
    async with Station(quick(bench)) as station:
        await station.provision(first.port, ORDER)
    company.before["record_stamp"] = []
    record = company.record_stamp

    async def lie(session: bytes, stamp: object) -> object:
        receipt = await record(session, stamp)  # type: ignore[arg-type]
        return replace(receipt, proof=company.log.receipt(0).proof)

    company.record_stamp = lie  # type: ignore[assignment, method-assign]
    async with Station(quick(bench)) as station:
        async with asyncio.timeout(TIMEOUT_S):
            while station._fault is None:  # noqa: ASYNC110 -- it has no event of its own
                await asyncio.sleep(0.05)
        with pytest.raises(BadAnswer):
            await station.provision(second.port, ORDER)
    assert "CHIP-2" not in company.boards


async def test_board_gets_its_label_once_and_the_code_stands_nowhere_else(bench: AgentBench) -> None:
    board = bench.board("CHIP-1", pop=True)
    labels = bench.directory / "labels"
    labels.mkdir(mode=0o700)
    place = LabelPlace(template=EXAMPLES / "label.toml", folder=labels)
    events: list[Event] = []
    async with Station(quick(bench, label=place)) as station:
        first = await station.provision(board.port, ORDER, events.append)
        (label,) = labels.iterdir()
        assert label.stem.startswith("BM-000001")
        label.unlink()  # handed over: somebody took it
        second = await station.provision(board.port, ORDER, events.append)
    assert (first.outcome, second.outcome) == (Outcome.PASS, Outcome.PASS)
    assert not list(labels.iterdir())
    pop = board.board.pop()
    assert pop is not None
    assert pop[0] not in repr(events)
    state = load(bench.config).state
    assert not [path for path in state.rglob("*") if path.is_file() and pop[0].encode() in path.read_bytes()]


async def test_bundle_for_a_driver_that_takes_none(bench: AgentBench) -> None:
    files = BundleFiles(path=bench.directory / "x.zip", key=bench.directory / "x.pem")
    with pytest.raises(ConfigError, match="driver smp takes none"):
        async with Station(quick(bench, bundle=files)):
            pass


async def test_bundle_that_cannot_be_read(bench: AgentBench) -> None:
    files = BundleFiles(path=bench.directory / "x.zip", key=bench.directory / "x.pem")
    with pytest.raises(ConfigError, match=r"x\.pem"):
        async with Station(quick(bench, driver="esp32", drivers={}, bundle=files)):
            pass


def test_configuration_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        provision_board(tmp_path / "none.toml", "COM7", ORDER)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"driver": "none"}, "no driver is called 'none'; known: "),
        ({"places": {"a": "left", "b": "left"}}, "left is given twice"),
        ({"places": {"a": "b", "b": "left"}}, "b is the name of another port"),
    ],
    ids=["driver", "places", "names"],
)
async def test_configuration_that_cannot_work(
    bench: AgentBench, changed: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        async with Station(quick(bench, **changed)):
            pass


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("flash", "step flash: driver smp has no such step"),
        ("first-boot", "step first-boot: driver smp has no such step"),
        ("label", r"step label: no \[label\] is configured"),
    ],
)
async def test_recipe_with_a_step_that_this_station_cannot_take(
    bench: AgentBench, step: str, says: str
) -> None:
    names = ["identify", "request", "sign", "install", "configure", "seal", "stamp"]
    names.insert({"flash": 1, "first-boot": 6, "label": 7}[step], step)
    path = bench.directory / "recipe.toml"
    path.write_text('name = "x"\n' + "".join(f'[[step]]\nname = "{name}"\n' for name in names))
    with pytest.raises(ConfigError, match=says):
        async with Station(quick(bench, recipe=path)):
            pass
    names.remove(step)
    path.write_text('name = "x"\n' + "".join(f'[[step]]\nname = "{name}"\n' for name in names))
    async with Station(quick(bench, recipe=path)):
        pass


async def test_flash_without_a_bundle(bench: AgentBench) -> None:
    with pytest.raises(ConfigError, match=r"step flash: no \[bundle\] is configured"):
        async with Station(quick(bench, driver="esp32", drivers={})):
            pass


async def test_journal_that_is_broken(bench: AgentBench) -> None:
    (load(bench.config).state / FILE_NAME).write_bytes(b"something else entirely" * 100)
    with pytest.raises(JournalError):
        async with Station(bench.config):
            pass


@pytest.mark.parametrize("order", ["", "WO 1", "x" * 65, "-1"], ids=["empty", "blank", "long", "dash"])
async def test_what_can_be_no_order_begins_no_board(bench: AgentBench, order: str) -> None:
    board = bench.board("CHIP-1")
    async with Station(bench.config) as station:
        with pytest.raises(ValueError, match="no work order's name"):
            await station.provision(board.port, order)
    assert journalled(bench) == []


@pytest.mark.parametrize("name", ["certificate", "operations_ca", "key"])
async def test_enrolment_that_is_no_such_file(bench: AgentBench, name: str) -> None:
    config = quick(bench)
    wrong = config.signerd.model_copy(update={name: bench.config})
    with pytest.raises(ConfigError, match="PEM"):
        async with Station(config.model_copy(update={"signerd": wrong})):
            pass


async def test_station_that_is_not_open(bench: AgentBench) -> None:
    station = Station(bench.config)
    with pytest.raises(RuntimeError, match="not open"):
        await station.provision("COM7", ORDER)
    async with station:
        pass
    with pytest.raises(RuntimeError, match="not open"):
        await station.provision("COM7", ORDER)


FAILS_TLS = """
import grpc
channel = grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials(open(sys.argv[2], "rb").read()))
try:
    channel.unary_unary("/any/Call")(b"", timeout=10)
except grpc.RpcError as error:
    print(error.code().name)
"""


@pytest.mark.parametrize(
    ("first", "chosen", "lines"),
    [("agent.api", None, False), ("grpc, agent.api", None, True), ("agent.api", "INFO", True)],
)
async def test_grpcs_own_lines_stay_off_the_terminal_of_who_uses_the_library(
    bench: AgentBench, first: str, chosen: str | None, lines: bool
) -> None:
    """Unless they asked for them, or loaded gRPC first. Each handshake that fails is a line."""
    wrong = bench.directory / "given-device-root"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    if chosen is not None:
        environment["GRPC_VERBOSITY"] = chosen
    program = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-c",
            f"import sys\nimport {first}\n{FAILS_TLS}",
            bench.signerd.address,
            str(wrong),
        ),
        env=environment,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await program.communicate()
    assert out.decode().strip() == "UNAVAILABLE"
    assert (b"Handshake failed" in err) is lines
