"""`run --trace PORT` as a process: the dialogue of a board's whole way, and no secret in any of its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.agent_process import AgentBench
from harness.secret_search import search, secret_forms

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"
PASSWORD = "correct horse battery"
WAY = ["hello", "keygen", "request", "credential", "config", "seal", "pop", "stamp"]


async def test_the_dialogue_of_a_whole_way_without_code_and_settings(tmp_path: Path) -> None:
    async with AgentBench(tmp_path) as bench:
        bench.signerd.company.settings["wifi"] = {"ssid": "line", "password": PASSWORD}
        labels = tmp_path / "labels"
        labels.mkdir()
        with bench.config.open("a", encoding="utf-8") as config:
            config.write(f'\n[label]\ntemplate = "{EXAMPLES / "label.toml"}"\nfolder = "{labels}"\n')
        traced, other = bench.board("CHIP-1", pop=True), bench.board("CHIP-2", pop=True)
        ports = ("--port", traced.port, "--port", other.port)
        run = ("run", "--order", "WO-1", *ports, "--count", "2", "--json", "--trace", traced.port)
        ended = await (await bench.start(*run)).end()
        assert (ended.code, ended.err) == (0, "")
        (file,) = bench.station.rglob("trace-*.log")
        (notice,) = (
            line["detail"]
            for line in map(json.loads, ended.out.splitlines())
            if "detail" in line and line["event"] == "notice"
        )
        assert notice == f"the dialogue of {traced.port} goes to {file}"
        said = [json.loads(line) for line in file.read_text(encoding="ascii").splitlines()]
        asked = [line["command"] for line in said if line["kind"] == "message" and line["way"] == ">"]
        assert [name for name in WAY if name not in asked] == []
        assert "CHIP-1" in str(said)
        assert "CHIP-2" not in str(said)
        code, salt = traced.board.pop() or ("", b"")
        settings = traced.board.storage.get("config") or b""
        assert PASSWORD.encode() in settings
        forms = secret_forms("code", code.encode()) | secret_forms("password", PASSWORD.encode())
        forms |= secret_forms("salt", salt) | secret_forms("settings", settings)
        forms = {
            form: wanted for form, wanted in forms.items() if "settings, SHA-256" not in form
        }  # the stamp has it
        recordings = (bench.station / "state" / "recordings").rename(tmp_path / "recordings")
        assert search(forms, recordings)  # they hold settings, to take a run once more
        (bench.station / "said").write_text(ended.out, encoding="utf-8")
        assert search(forms, bench.station) == []


def run(*ports: Path, trace: str, count: int = 1) -> list[str]:
    named = [part for port in ports for part in ("--port", str(port))]
    return ["run", "--order", "WO-1", *named, "--count", str(count), "--json", "--trace", trace]


async def test_a_port_is_traced_by_the_short_name_of_the_screens(tmp_path: Path) -> None:
    """Also at a board that is provisioned alone, whose port is named so."""
    async with AgentBench(tmp_path) as bench:
        first, second = tmp_path / "line" / "ttyB1", tmp_path / "line" / "ttyB2"
        first.parent.mkdir()
        first.symlink_to(bench.board("CHIP-1").port)
        second.symlink_to(bench.board("CHIP-2").port)
        ended = await (await bench.start(*run(first, second, trace="ttyB2", count=2))).end()
        assert ended.code == 0
        assert "nothing was traced" not in ended.out
        said = (bench.station / "state" / "trace-ttyB2.log").read_text(encoding="ascii")
        assert "CHIP-2" in said
        assert "CHIP-1" not in said
        with bench.config.open("r+", encoding="utf-8") as config:
            text = config.read()
            config.seek(0)
            config.write(f'ports = ["{first.parent}/tty*"]\n' + text)
        alone = ["provision", "--order", "WO-1", "--port", "ttyB1", "--json", "--trace", "ttyB1"]
        ended = await (await bench.start(*alone)).end()
        assert (ended.code, f'"port": "{first}"' in ended.out) == (0, True)
        assert "CHIP-1" in (bench.station / "state" / "trace-ttyB1.log").read_text(encoding="ascii")


@pytest.mark.parametrize("trace", ["ttyNope", "ttyB1"])
async def test_a_port_that_does_not_run_is_refused_before_the_first_board(tmp_path: Path, trace: str) -> None:
    async with AgentBench(tmp_path) as bench:
        ports = [tmp_path / line / "ttyB1" for line in ("a", "b")]
        for port in ports:
            port.parent.mkdir()
            port.symlink_to(bench.board(f"CHIP-{port.parent.name}").port)
        ended = await (await bench.start(*run(*ports, trace=trace))).end()
        assert (ended.code, ended.out) == (3, "")
        why = "no port that runs is called ttyNope" if trace == "ttyNope" else "several ports"
        assert why in ended.err
        names = ["a/ttyB1", "b/ttyB1"] if trace == "ttyNope" else list(map(str, ports))
        assert f"Name one of {', '.join(names)}." in ended.err
        assert not list(bench.station.rglob("trace-*.log"))


async def test_a_port_that_is_never_opened_is_said(tmp_path: Path) -> None:
    """It is named whole, and may come later."""
    async with AgentBench(tmp_path) as bench:
        board, later = bench.board("CHIP-1"), tmp_path / "ttyLater"
        ended = await (await bench.start(*run(Path(board.port), later, trace=str(later)))).end()
        assert ended.code == 0
        assert f"nothing was traced: port {later} was not opened" in ended.out
        assert not list(bench.station.rglob("trace-*.log"))
