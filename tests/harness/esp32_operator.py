"""Who stands beside a line of simulated ESP32 chips: switches the power on again, and lifts what failed.

    operator = finish(line, run)                  # until every chip has passed
    operator = settle(line, run)                  # until every chip has passed, or failed for good
    operator.verdicts                             # port -> code, of those that failed

A chip whose power fails comes back at once; one that failed is lifted and put on again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from harness.esp32_line import Esp32Line, Esp32Run
from harness.process import wait_until

_ALL_S = 600.0  # 50 boards, each made twice, on two cores that others use too
# A lifted board stays away for longer than the station needs to see that it is another presentation (3 s of
# looks at its ports, more on a busy machine), and is lifted once more if nothing at all comes of it.
_AWAY_S, _SILENT_S = 6.0, 30.0
_AGAIN = 2  # presentations that end alike: the board is set aside

Watch = Callable[[Mapping[str, Any]], None]


class Operator:
    """Stands beside the line: switches the power on again, and lifts what failed."""

    def __init__(self, run: Esp32Run, on_event: Watch) -> None:
        self._run = run
        self._on_event = on_event
        self._seen = 0
        self._chips = {chip.port: chip for chip in run.farm.chips}
        self._lifting: dict[str, float | None] = {}  # by port, when it was first seen to be gone
        self._put_on: dict[str, float] = {}  # by port, when its board was put on again, until it is heard of
        self._aside: set[str] = set()
        self.passed: set[str] = set()
        self.ends: dict[str, list[str]] = {port: [] for port in self._chips}

    @property
    def verdicts(self) -> dict[str, str]:
        """What is wrong with the chips that were set aside, by port."""
        return {port: self.ends[port][-1] for port in self._aside - self.passed}

    def all_passed(self) -> bool:
        """Looks once at everything that happened, and does what it asks for."""
        self._look()
        return len(self.passed) == len(self._chips)

    def all_settled(self) -> bool:
        """As `all_passed`; but a chip that failed alike when it was put on again is set aside."""
        self._look()
        alike = {
            port for port, ends in self.ends.items() if len(ends) >= _AGAIN and len(set(ends[-_AGAIN:])) == 1
        }
        self._aside |= alike - self.passed
        return self._chips.keys() == self.passed | self._aside

    def _look(self) -> None:
        events = self._run.events()
        for event in events[self._seen :]:
            if "port" in event:
                self._heard(event)
                self._on_event(event)
        self._seen = len(events)
        self._put_on_again(time.monotonic())
        for port in self._chips.keys() - self.passed - self._lifting.keys() - self._aside:
            if self._run.farm.state(self._chips[port].number) == "off":
                self._run.farm.press(self._chips[port].number, "power on")

    def _put_on_again(self, now: float) -> None:
        waiting = self._lifting.keys() - self._aside
        for port in waiting & self._run.gone_ports() if waiting else ():
            since = self._lifting[port]
            if since is None:
                self._lifting[port] = now
            elif now - since > _AWAY_S:
                del self._lifting[port]
                self._put_on[port] = now
                self._run.farm.press(self._chips[port].number, "plug")
                self._run.farm.press(self._chips[port].number, "power on")
        for port in [port for port, since in self._put_on.items() if now - since > _SILENT_S]:
            self._lift(port)

    def _lift(self, port: str) -> None:
        self._put_on.pop(port, None)
        self._lifting[port] = None
        self._run.farm.press(self._chips[port].number, "unplug")
        self._run.farm.press(self._chips[port].number, "power off")

    def _heard(self, event: Mapping[str, Any]) -> None:
        port = event["port"]
        if event["event"] != "waiting":
            self._put_on.pop(port, None)
        if event["event"] == "board_done":
            self.passed.add(port)
        elif event["event"] in {"board_failed", "board_parked"}:
            self.ends[port].append(event["code"])
            self._lift(port)


def finish(line: Esp32Line, run: Esp32Run, on_event: Watch = lambda _event: None) -> Operator:
    """Runs the station until every chip has passed."""
    operator = Operator(run, on_event)
    _run_until(run, operator.all_passed, "every chip to pass")
    _switch_on(run, operator.passed)
    line.finished_once(run)
    return operator


def settle(line: Esp32Line, run: Esp32Run, on_event: Watch = lambda _event: None) -> Operator:
    """Runs the station until every chip has passed, or failed alike twice. Only the former are good."""
    operator = Operator(run, on_event)
    _run_until(run, operator.all_settled, "every chip to pass or to fail for good")
    _switch_on(run, operator.passed)
    line.finished_once(run, [chip.chip_id for chip in run.farm.chips if chip.port in operator.passed])
    return operator


def _run_until(run: Esp32Run, condition: Callable[[], bool], what: str) -> None:
    agent = run.start_agent(count=10 * len(run.chips))
    wait_until(condition, what, timeout_s=_ALL_S, program=agent)
    agent.stop()


def _switch_on(run: Esp32Run, ports: set[str]) -> None:
    """Those that were cut in the last step, which needs no board."""
    numbers = [chip.number for chip in run.farm.chips if chip.port in ports]
    for number in numbers:
        if run.farm.state(number) == "off":
            run.farm.press(number, "power on")
    wait_until(lambda: all(run.farm.show(number)["firmware"] for number in numbers), "all to run")
