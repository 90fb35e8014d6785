"""A witness of a log that lost its end: what its operator is told, and can hand over. And callers who never
finish their handshake."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from auditor.__main__ import main
from auditor.adapters import witness_server
from auditor.adapters.witness_journal import WitnessJournal
from auditor.adapters.witness_server import WitnessServer
from auditor.adapters.witness_state import WitnessState, make_witness
from birthmark.proof import open_checkpoint, parse_vkey
from harness.paper_certificates import Authority, key_pem, new_key, pem
from harness.paper_log import ORIGIN, PaperLog, vkey

Run = Callable[..., tuple[int, str, str]]
OK, USAGE, SETTINGS = 0, 2, 3


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["birthmark-auditor", "witness", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return code, said.out, said.err

    return run


@pytest.fixture
def log() -> PaperLog:
    made = PaperLog()
    made.open_log()
    made.add_station()
    return made


def cosigned(folder: Path, log: PaperLog) -> WitnessState:
    """A witness that cosigned the log as it is."""
    make_witness(folder, "witness.example")
    state = WitnessState(folder)
    key = parse_vkey(vkey(log.log_key))
    state.follow([key])
    stranger = "\u2014 stranger.example AAAAAAAAAAAA\n".encode()
    state.replace(open_checkpoint(log.checkpoint() + stranger, [key]), lambda _kept: None)
    return state


def test_the_operator_hands_the_last_checkpoint_over(tmp_path: Path, log: PaperLog, run: Run) -> None:
    folder = tmp_path / "witness"
    cosigned(folder, log).close()
    code, out, _ = run("show", "--dir", folder, "--checkpoint", ORIGIN)
    assert (code, out.encode()) == (OK, log.checkpoint())  # without what strangers appended
    code, _, said = run("show", "--dir", folder, "--checkpoint", "other.example")
    assert (code, f"Followed: {ORIGIN}" in said) == (SETTINGS, True)
    assert run("show", "--dir", folder, "--checkpoint", ORIGIN, "--json")[0] == USAGE


def test_a_successor_is_followed_and_its_operator_told(tmp_path: Path, log: PaperLog, run: Run) -> None:
    folder, file = tmp_path / "witness", tmp_path / "successor.vkey"
    cosigned(folder, log).close()
    second = f"{ORIGIN}/successor-2"
    file.write_text(vkey(log.log_key, name=second), encoding="ascii")
    code, out, said = run("add-log", file, "--dir", folder)
    assert (code, out) == (OK, f"follows {second}\n")
    assert f"the log {ORIGIN} lost its end: this witness has cosigned 2 entries of it" in said
    assert f"show --checkpoint {ORIGIN}" in said
    told = json.loads(run("add-log", file, "--dir", folder, "--json")[1])
    assert (told["before"], told["cosigned_before"]) == (ORIGIN, 2)
    third = f"{ORIGIN}/successor-3"
    file.write_text(vkey(log.log_key, name=third), encoding="ascii")
    assert json.loads(run("add-log", file, "--dir", folder, "--json")[1])["before"] == second
    log.origin = second
    state = WitnessState(folder)
    state.replace(open_checkpoint(log.checkpoint(), state.logs[second]), lambda _kept: None)
    assert state.kept(second).size == state.kept(ORIGIN).size == 2
    state.close()


@pytest.mark.check
async def test_a_caller_that_never_ends_its_handshake_is_let_go(
    tmp_path: Path, log: PaperLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness_server, "DEADLINE_S", 0.3)
    ca, key = Authority.root("Web"), new_key()
    files = {"tls.pem": pem(ca.peer(key, "birthmark://paper/signerd", server=True)), "tls.key": key_pem(key)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "tls.pem", tmp_path / "tls.key")
    state = cosigned(tmp_path / "witness", log)
    server = await WitnessServer(state, WitnessJournal(lambda _event: None)).start("127.0.0.1", 0, tls)
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
    writer.close()
    server.close()
    state.close()
