"""`python -m boards`, as the demo and the end-to-end tests start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cbor2
import pytest

from agent.adapters.drivers.smp import SmpDriver
from harness.hello import hello

TESTS = Path(__file__).parents[2]


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-m", "boards", *arguments]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def line_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    parsed = json.loads(process.stdout.readline())
    assert isinstance(parsed, dict)
    return parsed


def tell(process: subprocess.Popen[str], **command: object) -> dict[str, Any]:
    assert process.stdin is not None
    process.stdin.write(json.dumps(command) + "\n")
    process.stdin.flush()
    return line_of(process)


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


async def test_boards_keep_their_keys_over_restarts(tmp_path: Path) -> None:
    secrets = tmp_path / "keys.csv"
    secrets.write_text("".join(f"chip:{number},{number:064x}\n" for number in range(3)))
    arguments = ("--secrets", str(secrets), "--count", "2", "--state-dir", str(tmp_path / "state"),
                 "--link-dir", str(tmp_path / "links"))  # fmt: skip
    spki = []
    for _start in range(2):
        process = start(*arguments)
        boards = [line_of(process), line_of(process)]
        assert line_of(process) == {"ready": 2}
        assert [board["chip"] for board in boards] == ["chip:0", "chip:1"]
        async with SmpDriver(str(tmp_path / "links" / "board-1"), {}) as driver:
            assert (await hello(driver)).chip_id == "chip:1"
            await driver.keygen("p256")
        spki.append(tell(process, board=1, show=True)["spki_sha256"])
        stop(process)
    assert spki[0] == spki[1] is not None


async def test_commands_change_a_running_board() -> None:
    process = start("--count", "1")
    port = line_of(process)["port"]
    line_of(process)
    async with SmpDriver(port, {"timeout_s": 0.1}) as driver:
        await driver.keygen("p256")
        assert tell(process, board=0, faults=[{"kind": "lose_answer", "times": 1}])["ok"]
        assert (await hello(driver)).key_state == "done"
        assert tell(process, board=0, erase=True)["ok"]
        assert (await hello(driver)).key_state == "none"
    assert tell(process, board=0, show=True)["exchanges"] >= 4
    stop(process)


async def test_a_farm_of_several_methods_tells_what_signerd_must_trust(tmp_path: Path) -> None:
    secrets, trust = tmp_path / "keys.csv", tmp_path / "trust.json"
    secrets.write_text(f"chip:1,{1:064x}\n")
    process = start(
        *("--secrets", str(secrets), "--evidence", "nrf91,hmac-sha256,x509,none", "--count", "5"),
        *("--trust", str(trust), "--prefix", "R-", "--wrong", '{"0": {"swapped": true}}'),
    )
    boards = [line_of(process) for _ in range(5)]
    assert line_of(process) == {"ready": 5}
    assert [board["method"] for board in boards] == ["nrf91", "hmac-sha256", "x509", "none", "nrf91"]
    assert [board["chip"] for board in boards[1:4]] == ["chip:1", "R-000002", "R-000003"]
    told = json.loads(trust.read_text())
    assert {method for method, section in told["sections"].items() if section} == {"nrf91", "x509"}
    assert [line["chip_id"] for line in told["identities"]["nrf91"]] == [boards[0]["chip"], boards[4]["chip"]]
    texts = []
    for board in (boards[0], boards[4]):
        async with SmpDriver(board["port"], {}) as driver:
            await driver.identify()
            await driver.keygen("p256")
            texts.append([len(text) for text in cbor2.loads((await driver.request(bytes(32))).evidence)])
    (token, keygen), (honest_keygen, honest_token) = texts
    assert keygen > token  # of the wrong board: the two answers have changed places
    assert honest_keygen > honest_token
    stop(process)


def test_more_boards_than_secrets_are_refused(tmp_path: Path) -> None:
    secrets = tmp_path / "keys.csv"
    secrets.write_text(f"chip:1,{1:064x}\n")
    process = start("--secrets", str(secrets), "--count", "2")
    process.communicate(timeout=30)
    assert process.returncode == 1


@pytest.mark.parametrize(
    "command", [{}, {"board": 7}, {"board": 0, "faults": [{"kind": "x"}]}, {"board": 0, "faults": [{"k": 1}]}]
)
def test_a_command_that_makes_no_sense_is_told_so(command: dict[str, object]) -> None:
    process = start()
    line_of(process)
    line_of(process)
    assert tell(process, **command)["ok"] is False
    assert tell(process, board=0, reset=True) == {"ok": True}
    stop(process)
