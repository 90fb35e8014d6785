"""A station behind a firewall (`TwoNetworks`): the agent runs, and boards are plugged in while it does.

with FirewalledLine(networks, installation, station) as line:
    boards = line.plug(4)
    networks.forget()
    line.until_passed(boards)
"""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections import Counter
from types import TracebackType
from typing import Any, Self

import psutil

from harness.installation import Installation, Peer, order_toml
from harness.process import COMMANDS, Program, run, wait_until
from harness.two_networks import TwoNetworks

ORDER = "WO-FIREWALL"
# A board on a line of 115,200 baud, whose key takes a moment: the firewall acts in the middle of it.
SLOW = {"baud": 115_200, "keygen_seconds": 1.0}
_CHIPS = 80
_PAGE = '\n[page]\nlisten = "127.0.0.1:8480"\n'  # in the station's own network
_STATE = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:8480/api/state", timeout=20).read().decode())
"""
_ENDS = {"board_done", "board_failed", "board_parked"}


class FirewalledLine:
    """While it is entered."""

    def __init__(self, networks: TwoNetworks, installation: Installation, station: Peer) -> None:
        self._networks = networks
        self._installation = installation
        self._numbers = itertools.count()
        self._links = installation.directory / "plugged"
        installation.open_order(
            order_toml(ORDER, quantity=_CHIPS, stations=[station.uri], serial_pattern="FW-{number:06d}")
        )
        keys = installation.personalize([f"walled-{number:03}" for number in range(_CHIPS)])
        self._chips = iter(keys.items())
        self._config = station.directory / "firewalled.toml"
        ports = f'ports = ["{self._links}/*/board-*"]\n'
        self._config.write_text(ports + station.config.read_text("utf-8") + _PAGE, "utf-8")
        self.agent: Program

    def plug(self, count: int, **options: object) -> frozenset[str]:
        """Puts fresh boards on ports of their own; returns their chips."""
        number = next(self._numbers)
        links = self._links / str(number)
        links.mkdir(parents=True)
        chips = dict(itertools.islice(self._chips, count))
        self._installation.start_boards(chips, f"walled-{number}", link_dir=links, **options)
        return frozenset(chips)

    def events(self) -> list[dict[str, Any]]:
        """All that the agent has told so far."""
        return [json.loads(line) for line in self.agent.output().split("\n")[:-1]]

    def count(self, event: str) -> int:
        """How often it has told such an event."""
        return sum(told["event"] == event for told in self.events())

    def until(self, event: str, *, beyond: int, within_s: float) -> dict[str, Any]:
        """Waits for more such events than `beyond`, and returns the last."""
        wait_until(lambda: self.count(event) > beyond, event, timeout_s=within_s, program=self.agent)
        return [told for told in self.events() if told["event"] == event][-1]

    def until_begun(self, chips: frozenset[str], event: str = "step_done", step: str = "identify") -> None:
        """Waits until each port of these boards has told that."""

        def begun() -> bool:
            told = self.events()
            ports = {
                each["port"] for each in told if each["event"] == "board_seen" and each["chip_id"] in chips
            }
            ready = {each["port"] for each in told if each["event"] == event and each["step"] == step}
            return len(ports) == len(chips) and ports <= ready

        wait_until(begun, f"{step} of all boards", timeout_s=60, program=self.agent)

    def until_passed(self, chips: frozenset[str], *, within_s: float) -> None:
        """Waits until each of these boards has passed. None may fail, and none be parked."""
        wait_until(
            lambda: len(self._verdicts(chips)) >= len(chips),
            "verdicts",
            timeout_s=within_s,
            program=self.agent,
        )
        assert Counter(self._verdicts(chips).values()) == {"board_done": len(chips)}

    def until_recorded(self, chips: frozenset[str], *, within_s: float) -> None:
        """The same, but that a stamp may have been left to the outbox."""

        def recorded() -> bool:
            verdicts = self._verdicts(chips)
            late = {told["chip_id"] for told in self.events() if told["event"] == "stamp_settled"}
            return all(verdicts.get(chip) == "board_done" or chip in late for chip in chips)

        wait_until(recorded, "stamps", timeout_s=within_s, program=self.agent)
        assert "board_failed" not in self._verdicts(chips).values()

    def _verdicts(self, chips: frozenset[str]) -> dict[str, str]:
        return {
            told["chip_id"]: told["event"]
            for told in self.events()
            if told["event"] in _ENDS and told["chip_id"] in chips
        }

    def page(self) -> dict[str, Any]:
        """What the station's page says now."""
        state: dict[str, Any] = json.loads(run(self._networks.at_the_station(sys.executable, "-c", _STATE)))
        return state

    def doctor(self) -> str:
        """What the station says of itself; the exit code is no matter here."""
        command = self._networks.at_the_station(COMMANDS / "birthmark-agent", "doctor", "-c", self._config)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stdout

    def sleep(self) -> None:
        """As the lid of a PC that is closed: it does nothing until it is woken."""
        self._process().send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """And goes on."""
        self._process().send_signal(signal.SIGCONT)

    def _process(self) -> psutil.Process:
        """`ip netns exec` becomes the agent."""
        return psutil.Process(self.agent.pid)

    def __enter__(self) -> Self:
        command = self._networks.at_the_station(COMMANDS / "birthmark-agent", "run", "--json")
        self.agent = self._installation.start([*command, "-c", self._config, "--order", ORDER], "firewalled")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wake()
        self.agent.stop()
