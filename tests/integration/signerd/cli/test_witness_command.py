"""A real signerd with a witness: `signerd witness list`, metrics, receipts, and an auditor who reads."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from birthmark.v1 import station_pb2, station_pb2_grpc
from harness.hostile_line import HostileLine
from harness.installation import Installation
from harness.paper_witness import PaperWitness
from harness.process import COMMANDS, wait_until
from harness.served_page import free_port
from harness.signerd_commands import signerd

pytestmark = pytest.mark.check


class Witnessed:
    """One installation, its line and its witness."""

    def __init__(self, directory: Path, witness: PaperWitness) -> None:
        self.witness = witness
        self.installation = Installation(directory / "installation")
        self.metrics = f"127.0.0.1:{free_port()}"
        with self.installation.config.open("a", encoding="utf-8") as settings:
            settings.write(f'\n[[witnesses]]\nurl = "{witness.url}"\nvkey = "{witness.vkey}"\n')
            settings.write("\n[publication]\nwitnesses_required = 1\n")
            settings.write(f'\n[metrics]\nlisten = "{self.metrics}"\n')
        self.line = HostileLine(self.installation)

    def listed(self) -> tuple[int, dict[str, Any]]:
        code, said = signerd(self.installation, "witness", "list", "--json")
        (one,) = json.loads(said)["witnesses"]
        return code, one

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=10) as answer:
            (line,) = [line for line in answer.read().decode().splitlines() if line.startswith(f"{name}{{")]
        assert self.witness.name in line
        return float(line.rpartition(" ")[2])


@pytest.fixture(scope="module")
def witnessed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witnessed]:
    with PaperWitness() as witness:
        made = Witnessed(tmp_path_factory.mktemp("witnessed"), witness)
        with made.installation:
            yield made
            made.line.close()


def test_a_board_s_receipt_is_cosigned_and_the_auditor_reads_it(witnessed: Witnessed) -> None:
    assert signerd(witnessed.installation, "witness", "keys") == (0, f"{witnessed.witness.vkey}\n")
    stations = station_pb2_grpc.StationServiceStub(witnessed.line.pc1.channel)
    said = stations.CheckStation(station_pb2.CheckStationRequest(), timeout=30)
    assert (said.witnesses_required, list(said.witness_vkeys)) == (1, [witnessed.witness.vkey])
    order = witnessed.line.open_order()
    _, signed = witnessed.line.pc1.certify(order, witnessed.line.board())
    assert witnessed.witness.name.encode() in signed.receipt
    code, listed = witnessed.listed()
    assert (code, int(listed["cosigned_size"])) == (0, witnessed.witness.seen)
    assert not listed.get("trouble")
    assert witnessed.metric("signerd_witness_cosigned_size") == witnessed.witness.seen
    assert witnessed.metric("signerd_witness_alarm") == 0
    auditor = witnessed.installation.add_auditor("watcher")
    command: list[str | Path] = [
        COMMANDS / "birthmark-auditor",
        "verify",
        "--json",
        "--config",
        auditor.config,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_witness_that_saw_another_log_is_an_alarm(witnessed: Witnessed) -> None:
    witness = witnessed.witness
    witness.wrong = lambda _shown: (422, {}, b"")
    name = witnessed.line.open_order()  # an entry; administrators are told that nothing is published
    wait_until(lambda: witnessed.listed()[1].get("alarm", False), "the alarm", timeout_s=60)
    code, listed = witnessed.listed()
    assert code == 1
    assert "does not hold" in listed["trouble"]
    assert witnessed.metric("signerd_witness_alarm") == 1
    assert signerd(witnessed.installation, "witness", "list")[1].count("ALARM") == 1
    witness.wrong = None
    wait_until(lambda: witnessed.listed()[0] == 0, "the witness cosigns again", timeout_s=60)
    witnessed.line.pc1.certify(name, witnessed.line.board())


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('[[witnesses]]\nurl = "http://witness.example/"\nvkey = "{vkey}"', "must begin with https://"),
        ('[[witnesses]]\nurl = "https://u:p@witness.example/"\nvkey = "{vkey}"', "submission prefix"),
        ('[[witnesses]]\nurl = "https://witness.example:x/"\nvkey = "{vkey}"', "url"),
        ('[[witnesses]]\nurl = "https://witness.example/"\nvkey = "{vkey}x"', "vkey"),
        (2 * '[[witnesses]]\nurl = "https://witness.example/"\nvkey = "{vkey}"\n', "one witness"),
        ("[publication]\nwitnesses_required = 1", "nothing could be published"),
        (
            '[[witnesses]]\nurl = "https://witness.example/"\nvkey = "{vkey}"\nca = "nowhere.pem"',
            "nowhere.pem",
        ),
    ],
)
def test_wrong_settings_are_refused(witnessed: Witnessed, lines: str, said: str) -> None:
    config = witnessed.installation.config
    text = config.read_text("utf-8").partition("\n[[witnesses]]")[0]
    wrong = config.with_name("wrong.toml")
    wrong.write_text(f"{text}\n{lines.replace('{vkey}', witnessed.witness.vkey)}\n", encoding="utf-8")
    done = subprocess.run(
        [COMMANDS / "signerd", "check-config", "-c", wrong],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
