"""`run --trace PORT` as a process: the dialogue of a board's whole way, and no secret in any of its files."""

from __future__ import annotations

import json
from pathlib import Path

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


async def test_a_port_that_is_never_opened_is_said(tmp_path: Path) -> None:
    async with AgentBench(tmp_path) as bench:
        board = bench.board("CHIP-1")
        run = ("run", "--order", "WO-1", "--port", board.port, "--count", "1", "--trace", "/dev/ttyNope")
        ended = await (await bench.start(*run)).end()
        assert ended.code == 0
        assert "nothing was traced: no port /dev/ttyNope was opened" in ended.out
        assert not list(bench.station.rglob("trace-*.log"))
