"""What lies between a station and signerd, and says nothing: a firewall that forgets, outages, large packets
that vanish, a name server that does not answer, and a PC that slept. Real packets, and the programs as they
are. `test_documented_setup.py` has the two that come most often.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from harness.documented import DocumentedInstallation
from harness.firewalled_line import SLOW, FirewalledLine
from harness.two_networks import Passes, TwoNetworks

pytestmark = pytest.mark.soak
SLEPT_S = 90.0  # signerd gives up a peer that answers no ping for 80 s
OUTAGES = 8


@pytest.fixture(scope="module", name="line")
def make_line(networks: TwoNetworks, installation: DocumentedInstallation) -> Iterator[FirewalledLine]:
    station = installation.add_station("plant1", "pc1")
    with FirewalledLine(networks, installation, station) as line:
        line.until_passed(line.plug(1), within_s=60)
        yield line


@pytest.fixture(autouse=True)
def all_passes(networks: TwoNetworks) -> Iterator[None]:
    yield
    networks.pass_only(Passes.ALL)


def test_a_firewall_that_drops_everything_is_named_while_boards_wait(
    networks: TwoNetworks, line: FirewalledLine
) -> None:
    boards = line.plug(8, **SLOW)
    line.until_begun(boards)
    networks.pass_only(Passes.NOTHING)
    begun_s, before = time.monotonic(), line.count("line_up")
    named = line.until("line_down", beyond=line.count("line_down"), within_s=30)
    assert named["code"] == line.page()["line"]["code"] == "line_unreachable"
    print(f"named after {time.monotonic() - begun_s:.1f} s")
    time.sleep(20.0)  # an outage is time that passes
    networks.pass_only(Passes.ALL)
    begun_s = time.monotonic()
    line.until("line_up", beyond=before, within_s=20)
    line.until_recorded(boards, within_s=30)
    print(f"all passed after {time.monotonic() - begun_s:.1f} s")
    assert line.page()["line"] is None
    assert line.count("line_down") == line.count("line_up")  # each outage is said once


def test_an_idle_station_finds_out_and_names_it(networks: TwoNetworks, line: FirewalledLine) -> None:
    networks.pass_only(Passes.NOTHING)
    begun_s, before = time.monotonic(), line.count("line_up")
    assert line.until("line_down", beyond=line.count("line_down"), within_s=60)["code"] == "line_unreachable"
    print(f"named after {time.monotonic() - begun_s:.1f} s")
    networks.pass_only(Passes.ALL)
    begun_s = time.monotonic()
    line.until("line_up", beyond=before, within_s=30)
    line.until_passed(line.plug(2), within_s=30)
    print(f"a board passed after {time.monotonic() - begun_s:.1f} s")


@pytest.mark.parametrize("busy", [True, False], ids=["boards under way", "idle"])
def test_a_pc_that_slept_while_the_firewall_forgot(
    networks: TwoNetworks, line: FirewalledLine, busy: bool
) -> None:
    boards = line.plug(4, **SLOW) if busy else frozenset()
    line.until_begun(boards)
    line.sleep()
    networks.forget()
    time.sleep(SLEPT_S)  # what is tested is time that passes
    line.wake()
    begun_s, down = time.monotonic(), line.count("line_down")
    line.until_passed(boards or line.plug(4), within_s=60)
    print(f"passed after {time.monotonic() - begun_s:.1f} s")
    assert line.count("line_down") == down


def test_many_short_outages_cost_no_board(networks: TwoNetworks, line: FirewalledLine) -> None:
    boards: frozenset[str] = frozenset()
    for number in range(OUTAGES):
        boards |= line.plug(2, **SLOW)
        networks.pass_only(Passes.NOTHING)
        time.sleep(2.0)  # an outage is time that passes
        networks.pass_only(Passes.ALL)
        if number % 2:
            networks.forget()
    begun_s = time.monotonic()
    line.until_recorded(boards, within_s=60)
    print(f"all passed {time.monotonic() - begun_s:.1f} s after the last outage")


def test_large_packets_that_vanish_are_named_and_boards_go_on_when_they_pass(
    networks: TwoNetworks, line: FirewalledLine
) -> None:
    """A tunnel with a smaller MTU, whose ICMP is filtered: the pings pass, and a certificate does not."""
    boards = line.plug(4, **SLOW)
    line.until_begun(boards)
    networks.pass_only(Passes.SMALL)
    before = line.count("line_up")
    named = line.until("line_down", beyond=line.count("line_down"), within_s=60)
    assert named["code"] == "line_silent"
    assert "MTU" in named["remedy"]
    networks.pass_only(Passes.ALL)
    line.until("line_up", beyond=before, within_s=30)
    line.until_recorded(boards, within_s=60)


def test_a_name_server_that_is_silent_holds_up_no_name_that_the_pc_knows(
    networks: TwoNetworks, line: FirewalledLine
) -> None:
    networks.ask_names_of("192.0.2.53")  # nothing is there, and nobody says so
    assert "BAD" not in line.doctor()  # on a fresh line, which has `call_s` to come up
    down = line.count("line_down")
    networks.forget()
    line.until_passed(line.plug(2), within_s=40)
    assert line.count("line_down") == down
