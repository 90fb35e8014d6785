"""A factory around an installation: a station with the real agent, simulated boards, and an auditor.

with Factory(directory) as factory:
    run = factory.new_run(boards=4)
    assert run.start_agent().wait() == 0
    factory.finished_once(run)

Boards of other methods have a product and a work order of their own:

    run = factory.new_evidence_run("psa-token", "x509", level="key", wrong={0: {"lifecycle": "unknown"}})
    assert run.start_agent().wait() == 1
    assert run.outcomes()[run.farm.boards[0].chip_id] == "evidence_rejected"
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from birthmark.v1 import audit_pb2, audit_pb2_grpc
from boards.vendors import make_vendors
from harness.audited import RPC_TIMEOUT_S, Audited
from harness.board_farm import BoardFarm
from harness.installation import SENSOR, Installation, Peer, order_toml, product_toml
from harness.process import Program, or_ended, wait_until

# A line of 115,200 baud and a key that takes a moment: every step lasts long enough to be met.
LINE = {"baud": 115_200, "keygen_seconds": 0.3, "buffer": 512}

WORK_ORDER = "WO-FACTORY"
CHIPS = 100
_ENDS = frozenset({"board_done", "board_failed", "board_parked"})


def events(agent: Program) -> list[dict[str, Any]]:
    """The JSON lines that the agent wrote so far."""
    return [json.loads(line) for line in agent.output().split("\n")[:-1]]


@dataclass(frozen=True, slots=True)
class Run:
    """Fresh boards on a station's ports."""

    installation: Installation
    station: Peer
    farm: BoardFarm
    work_order: str = WORK_ORDER

    @property
    def chips(self) -> list[str]:
        """Ids of the boards' chips, sorted."""
        return sorted(board.chip_id for board in self.farm.boards)

    def start_agent(self, *options: str) -> Program:
        """`birthmark-agent run` on all the ports, until every board is done."""
        command: list[str | Path] = [
            self.installation.commands / "birthmark-agent",
            *("run", "--config", self.station.config),
        ]
        command += ["--order", self.work_order, "--count", str(len(self.farm.boards)), *options]
        for port in self.farm.ports:
            command += ["--port", port]
        return self.installation.start(command, self._log)

    def outcomes(self) -> dict[str, str]:
        """Chip id -> the code with which the agent was last done with the board; "" for PASS."""
        text = (self.installation.logs / f"{self._log}.out").read_text(encoding="utf-8")
        ended = [line for line in map(json.loads, text.splitlines()) if line["event"] in _ENDS]
        return {line["chip_id"]: line["code"] for line in ended}

    @property
    def _log(self) -> str:
        return f"agent-{self.chips[0]}"


class Factory(Audited):
    """One installation for many runs."""

    def __init__(self, directory: Path, **installation: Any) -> None:
        self.installation = Installation(directory, **installation)
        with or_ended(self.installation.close):
            self.installation.start_signerd()
            self._fill()

    def _fill(self) -> None:
        """What a line needs, in an installation that is running."""
        self.installation.add_product(SENSOR)
        self.station = self.installation.add_station("plant1", "pc1")
        self.auditor = self.installation.add_auditor("company")
        terms = order_toml(WORK_ORDER, quantity=CHIPS, stations=[self.station.uri])
        self.installation.open_order(terms)
        keys = self.installation.personalize([f"chip-{number:03}" for number in range(CHIPS)])
        self._unused = list(keys.items())
        self._numbers = itertools.count(1)

    def new_run(self, *, boards: int, **options: object) -> Run:
        """Plugs in boards that were never used before; `options` are those of `python -m boards`."""
        chips, self._unused = dict(self._unused[:boards]), self._unused[boards:]
        farm = self.installation.start_boards(chips, f"boards-{min(chips)}", **options)
        return Run(self.installation, self.station, farm)

    def new_evidence_run(
        self,
        *evidence: str,
        boards: int | None = None,
        level: str = "key",
        accepted: Sequence[str] | None = None,
        **options: object,
    ) -> Run:
        """Plugs in boards of these methods in turn, under a product and a work order that are made for them.

        Args:
            *evidence: the boards' methods.
            boards: how many; one a method if it is not said.
            level: that the work order demands.
            accepted: methods that the product accepts, if not those of the boards.
            **options: of `python -m boards`.
        """
        number = next(self._numbers)
        count = boards or len(evidence)
        chips, self._unused = dict(self._unused[:count]), self._unused[count:]
        name = f"evidence-{number}"
        farm = self.installation.start_boards(
            chips, name, evidence=",".join(evidence), count=count, prefix=f"E{number}-", **options
        )
        work_order = f"WO-EVIDENCE-{number}"
        if accepted is None:
            self.installation.add_product_for(farm, name)
        else:
            trusted = make_vendors(accepted).values()
            sections = [vendor.product_section() for vendor in trusted]
            self.installation.add_product(product_toml(name, methods=accepted, sections=sections))
        terms = order_toml(
            work_order,
            product=name,
            quantity=count,
            stations=[self.station.uri],
            level=level,
            serial_pattern=f"E{number}-{{number:04d}}",
        )
        self.installation.open_order(terms)
        if accepted is None:
            self.installation.list_chips_of(farm, work_order)
        return Run(self.installation, self.station, farm, work_order)

    def records(self, run: Run) -> list[audit_pb2.Record]:
        """The boards' certificates, as an auditor reads them."""
        return self.records_of(run.chips)

    def entries(self, kind: str, run: Run) -> list[dict[str, Any]]:
        """The ledger's entries of one type that name one of the boards."""
        with self.audit_channel() as channel:
            audit = audit_pb2_grpc.AuditServiceStub(channel)
            batches = audit.StreamEntries(audit_pb2.StreamEntriesRequest(), timeout=RPC_TIMEOUT_S)
            every = [json.loads(entry) for batch in batches for entry in batch.entries]
        return [entry for entry in every if entry["type"] == kind and entry["chip_id"] in run.chips]

    def finished_once(self, run: Run) -> None:
        """Every board: one certificate, for its own key, one serial number, one stamp; all in the ledger."""
        records, issued = self.records(run), self.entries("issued", run)
        assert sorted(record.chip_id for record in records) == run.chips
        assert {record.state for record in records} == {audit_pb2.RECORD_STATE_STAMPED}
        assert len({record.serial_number for record in records}) == len(run.chips)
        own_keys = {view.spki_sha256 for view in (run.farm.view(board.number) for board in run.farm.boards)}
        assert sorted(entry["chip_id"] for entry in issued) == run.chips
        assert {entry["spki_sha256"] for entry in issued} == own_keys
        programs = {(entry["versions"]["signerd"], entry["versions"]["agent"]) for entry in issued}
        assert programs == {(version("birthmark"),) * 2}
        assert sorted(entry["chip_id"] for entry in self.entries("stamped", run)) == run.chips


def step_begun(agent: Program, step: str) -> None:
    """Returns when the agent has begun this step with a board."""

    def begun() -> bool:
        return any(event["event"] == "step_started" and event["step"] == step for event in events(agent))

    wait_until(begun, f"step {step}", program=agent)
