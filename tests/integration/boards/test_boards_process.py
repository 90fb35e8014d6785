"""`python -m boards`, as the demo and the end-to-end tests start it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cbor2
import pytest

from agent.adapters.drivers.smp import SmpDriver
from harness.commanded_farm import CommandedFarm
from harness.hello import hello
from harness.process import REPOSITORY


@contextmanager
def farm(tmp_path: Path, *arguments: str | Path) -> Iterator[CommandedFarm]:
    """Running boards; ended by SIGTERM, and that without an error."""
    with CommandedFarm("boards", arguments, log=Path(tempfile.mkdtemp(dir=tmp_path)) / "farm") as running:
        yield running
        assert running.program.stop() == 0


async def test_boards_keep_their_keys_over_restarts(tmp_path: Path) -> None:
    secrets = tmp_path / "keys.csv"
    secrets.write_text("".join(f"chip:{number},{number:064x}\n" for number in range(3)))
    arguments = ("--secrets", secrets, "--count", "2", "--state-dir", tmp_path / "state",
                 "--link-dir", tmp_path / "links")  # fmt: skip
    spki = []
    for _start in range(2):
        with farm(tmp_path, *arguments) as boards:
            *said, ready = boards.said
            assert ready == {"ready": 2}
            assert [board["chip"] for board in said] == ["chip:0", "chip:1"]
            async with SmpDriver(str(tmp_path / "links" / "board-1"), {}) as driver:
                assert (await hello(driver)).chip_id == "chip:1"
                await driver.keygen("p256")
            spki.append(boards.tell(1, show=True)["spki_sha256"])
    assert spki[0] == spki[1] is not None


async def test_commands_change_a_running_board(tmp_path: Path) -> None:
    with farm(tmp_path, "--count", "1") as boards:
        async with SmpDriver(boards.said[0]["port"], {"timeout_s": 0.1}) as driver:
            await driver.keygen("p256")
            boards.tell(0, faults=[{"kind": "lose_answer", "times": 1}])
            assert (await hello(driver)).key_state == "done"
            boards.tell(0, erase=True)
            assert (await hello(driver)).key_state == "none"
        assert boards.tell(0, show=True)["exchanges"] >= 4


async def test_a_farm_of_several_methods_tells_what_signerd_must_trust(tmp_path: Path) -> None:
    secrets, trust = tmp_path / "keys.csv", tmp_path / "trust.json"
    secrets.write_text(f"chip:1,{1:064x}\n")
    arguments = ("--secrets", secrets, "--evidence", "nrf91,hmac-sha256,x509,none", "--count", "5",
                 "--trust", trust, "--prefix", "R-", "--wrong", '{"0": {"swapped": true}}')  # fmt: skip
    with farm(tmp_path, *arguments) as boards:
        *said, ready = boards.said
        assert ready == {"ready": 5}
        assert [board["method"] for board in said] == ["nrf91", "hmac-sha256", "x509", "none", "nrf91"]
        assert [board["chip"] for board in said[1:4]] == ["chip:1", "R-000002", "R-000003"]
        told = json.loads(trust.read_text())
        assert {method for method, section in told["sections"].items() if section} == {"nrf91", "x509"}
        assert [line["chip_id"] for line in told["identities"]["nrf91"]] == [said[0]["chip"], said[4]["chip"]]
        texts = []
        for board in (said[0], said[4]):
            async with SmpDriver(board["port"], {}) as driver:
                await driver.identify()
                await driver.keygen("p256")
                texts.append([len(text) for text in cbor2.loads((await driver.request(bytes(32))).evidence)])
    (token, keygen), (honest_keygen, honest_token) = texts
    assert keygen > token  # of the wrong board: the two answers have changed places
    assert honest_keygen > honest_token


def test_more_boards_than_secrets_are_refused(tmp_path: Path) -> None:
    secrets = tmp_path / "keys.csv"
    secrets.write_text(f"chip:1,{1:064x}\n")
    command = [sys.executable, "-m", "boards", "--secrets", str(secrets), "--count", "2"]
    assert subprocess.run(command, cwd=REPOSITORY / "tests", timeout=30, check=False).returncode == 1


@pytest.mark.parametrize(
    "command", [{}, {"board": 7}, {"board": 0, "faults": [{"kind": "x"}]}, {"board": 0, "faults": [{"k": 1}]}]
)
def test_a_command_that_makes_no_sense_is_told_so(tmp_path: Path, command: dict[str, object]) -> None:
    with farm(tmp_path) as boards:
        assert boards.ask(**command)["ok"] is False
        assert boards.tell(0, reset=True) == {"ok": True}
