"""The worker's process: whatever it does, a command ends in time, with an answer or an error with a code."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from agent.adapters.drivers.esp32.worker_process import Worker
from agent.errors import BoardError, LineError
from harness.waiting import until

ENOUGH_S = 60.0  # starting Python on a loaded machine
# A worker of the tests: reads a line, and does what the test says with `request` and `say`.
_SCRIPT = """
import json, os, sys, time
def say(**fields):
    print(json.dumps({"id": request["id"], **fields}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
"""


def worker(*does: str) -> Worker:
    """A worker that does this for each request."""
    return Worker((sys.executable, "-c", _SCRIPT + "\n".join(f"    {line}" for line in does)))


def is_running(pid: int) -> bool:
    """False for a zombie too: what was killed in a container may never be fetched."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_an_answer_comes_with_progress_before_it() -> None:
    seen: list[tuple[int, int]] = []
    async with worker("say(progress=[1, 2])", "say(progress=[2, 2])", "say(result={'echo': request})") as one:
        answer = await one.ask(
            "write", {"mac": "x"}, ENOUGH_S, lambda done, total: seen.append((done, total))
        )
        assert answer["echo"] == {"id": 1, "command": "write", "mac": "x"}
        assert seen == [(1, 2), (2, 2)]
        pid = one.pid
        assert (await one.ask("write", {}, ENOUGH_S))["echo"]["id"] == 2
        assert one.pid == pid, "the same process for all commands"


@pytest.mark.parametrize(
    ("kind", "error", "retryable"),
    [("line", LineError, True), ("board", BoardError, False), ("again", BoardError, True)],
)
async def test_its_errors_are_raised(kind: str, error: type[LineError | BoardError], retryable: bool) -> None:
    async with worker(f"say(error=[{kind!r}, 'some_code', 'why', 'what to do'])") as one:
        with pytest.raises(error) as raised:
            await one.ask("open", {}, ENOUGH_S)
        assert (raised.value.code, raised.value.detail, raised.value.remedy) == (
            "some_code",
            "why",
            "what to do",
        )
        assert raised.value.retryable is retryable
        assert one.pid is not None, "an error is an answer: the process lives on"


@pytest.mark.parametrize(
    ("does", "code"),
    [
        pytest.param("os._exit(3)", "worker_died", id="dies"),
        pytest.param("os.kill(os.getpid(), 9)", "worker_died", id="is killed"),
        pytest.param("raise SystemExit", "worker_died", id="ends"),
        pytest.param("print('Connecting....', flush=True)", "worker_junk", id="prints"),
        pytest.param("print('[' * 100_000, flush=True)", "worker_junk", id="nests"),
        pytest.param("print('[1]', flush=True)", "worker_junk", id="list"),
        pytest.param('print(\'{"id": 7, "result": {}}\', flush=True)', "worker_junk", id="other id"),
        pytest.param("print('x' * 1_000_000, flush=True)", "worker_died", id="long line"),
        pytest.param("say(result=[])", "worker_junk", id="result is no map"),
        pytest.param("say(error=['kind', 'code', 'detail', 'remedy'])", "worker_junk", id="unknown error"),
        pytest.param("say(error='broken')", "worker_junk", id="error is a text"),
        pytest.param("say(progress=[3, 2])", "worker_junk", id="more than all"),
        pytest.param("say(progress='half')", "worker_junk", id="progress is a text"),
        pytest.param("say()", "worker_junk", id="nothing"),
    ],
)
async def test_a_worker_that_misbehaves_is_replaced(does: str, code: str, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.touch()
    # The first process misbehaves, the next one answers.
    lines = (f"if os.path.exists({str(first)!r}):", f"    os.unlink({str(first)!r})", f"    {does}")
    async with worker(*lines, "else: say(result={})") as one:
        with pytest.raises(LineError) as raised:
            await one.ask("open", {}, ENOUGH_S)
        assert raised.value.code == code
        assert one.pid is None
        assert await one.ask("open", {}, ENOUGH_S) == {}


async def test_a_worker_that_hangs_is_killed_with_its_children() -> None:
    started = asyncio.Event()
    child = "import subprocess; child = subprocess.Popen(['sleep', '600'])"
    pids: list[int] = []

    def note(parent: int, grandchild: int) -> None:
        pids.extend((parent, grandchild))
        started.set()

    # Process ids go up: the child's is the greater one, as progress wants it.
    async with worker(child, "say(progress=sorted([os.getpid(), child.pid]))", "time.sleep(600)") as one:
        asking = asyncio.create_task(one.ask("write", {}, 600.0, note))
        await started.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert one.pid is None
        for pid in pids:
            await until(lambda pid=pid: not is_running(pid), "its end")  # type: ignore[misc]


async def test_a_deadline_ends_a_command() -> None:
    async with worker("time.sleep(600)") as one:
        with pytest.raises(LineError) as raised:
            await one.ask("digests", {}, 0.5)
        assert raised.value.code == "worker_hung"
        assert one.pid is None


async def test_endless_progress_ends_too() -> None:
    async with worker("while True: say(progress=[0, 1])") as one:
        with pytest.raises(LineError) as raised:
            await one.ask("write", {}, 1.0)
        assert raised.value.code in {"worker_hung", "worker_junk"}


async def test_a_worker_killed_between_commands_is_replaced() -> None:
    async with worker("say(result={})") as one:
        await one.ask("open", {}, ENOUGH_S)
        assert one.pid is not None
        os.kill(one.pid, signal.SIGKILL)
        with contextlib.suppress(LineError):  # the system may not have told of its end yet
            await one.ask("open", {}, ENOUGH_S)
        assert await one.ask("open", {}, ENOUGH_S) == {}


async def test_it_runs_in_an_empty_directory_with_a_bare_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "esptool.cfg").write_text("[esptool]\ntimeout = 99\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESPTOOL_CFGFILE", str(tmp_path / "esptool.cfg"))
    monkeypatch.setenv("SECRET", "x")
    async with worker(
        "say(result={'files': os.listdir(), 'cwd': os.getcwd(), 'environment': dict(os.environ)})"
    ) as one:
        answer = await one.ask("open", {}, ENOUGH_S)
        assert answer["files"] == []
        assert answer["environment"]["HOME"] == answer["cwd"]
        assert answer["environment"]["USERPROFILE"] == answer["cwd"]
        assert not {"SECRET", "ESPTOOL_CFGFILE"} & answer["environment"].keys()
    assert not os.path.exists(answer["cwd"])  # noqa: ASYNC240, PTH110 (one look)


_KILLED = """
import asyncio, os, signal
from agent.adapters.drivers.esp32.worker_process import Worker
async def work():
    async with Worker() as one:
        await one.ask("close", {}, 60.0)
        print(one.pid, *os.listdir(os.environ["TMPDIR"]), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(work())
"""


async def test_an_agent_that_is_killed_leaves_no_directory(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _KILLED), stdout=asyncio.subprocess.PIPE, env=environment
    )
    said, _ = await agent.communicate()
    pid, *directories = said.decode().split()
    assert len(directories) == 1
    await until(lambda: not is_running(int(pid)), "the worker's end")
    assert not os.listdir(tmp_path)  # noqa: PTH208 (one look)


async def test_what_lies_beside_the_agents_command_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the bin directory of an installation, where esptool puts scripts of its modules' names."""
    (tmp_path / "esptool.py").write_text("raise SystemExit('a script')", encoding="ascii")
    monkeypatch.syspath_prepend(str(tmp_path))
    async with Worker() as one:
        assert await one.ask("close", {}, ENOUGH_S) == {}


async def test_a_program_that_is_not_there() -> None:
    async with Worker(("/nonexistent/python",)) as one:
        with pytest.raises(LineError) as raised:
            await one.ask("open", {}, ENOUGH_S)
        assert raised.value.code == "worker_died"


async def test_the_real_worker_answers_what_it_does_not_know() -> None:
    async with Worker() as one:
        with pytest.raises(LineError) as raised:
            await one.ask("explode", {}, ENOUGH_S)
        assert raised.value.code == "worker_junk"
        assert await one.ask("close", {}, ENOUGH_S) == {}


@pytest.mark.parametrize(
    ("command", "fields", "code"),
    [
        ("digests", {"regions": [[0, 16]]}, "no_answer"),
        ("read", {"offset": 0, "size": 16}, "no_answer"),
        ("prepare", {"baudrate": 115_200}, "no_answer"),
        ("alive", {}, "no_answer"),
        ("run", {"after": None}, "no_answer"),
        ("burned", {"burns": []}, "no_answer"),
        ("write", {"mac": "7c:df:a1:00:00:01", "pieces": []}, "no_answer"),
        ("burn", {"mac": "7c:df:a1:00:00:01", "burns": []}, "no_answer"),
        ("open", {"port": "/nonexistent", "before": "no-reset", "attempts": 1}, "port_gone"),
        ("check_burns", {"chip": "esp32s3", "burns": [["NO_SUCH", 1]]}, "burn_refused"),
        ("check_burns", {"chip": "esp32s3", "burns": [["DIS_DIRECT_BOOT", 2]]}, "burn_refused"),
        ("check_burns", {"chip": "esp32s3", "burns": [["BLOCK_KEY0", 1]]}, "burn_refused"),
    ],
)
async def test_the_real_worker_without_a_chip(command: str, fields: dict[str, object], code: str) -> None:
    async with Worker() as one:
        with pytest.raises((LineError, BoardError)) as raised:
            await one.ask(command, fields, ENOUGH_S)
        assert raised.value.code == code
        assert one.pid is not None


async def test_the_real_worker_knows_the_burns_of_each_chip() -> None:
    chips = {"esp32": "UART_DOWNLOAD_DIS", "esp32s2": "DIS_BOOT_REMAP", "esp32s3": "DIS_DIRECT_BOOT"}
    chips |= dict.fromkeys(("esp32c3", "esp32c6", "esp32h2", "esp32p4"), "ENABLE_SECURITY_DOWNLOAD")
    async with Worker() as one:
        for chip, name in chips.items():
            assert await one.ask("check_burns", {"chip": chip, "burns": [[name, 1]]}, ENOUGH_S) == {}, chip
