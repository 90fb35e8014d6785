"""Idle connections, failed handshakes, empty calls, a revoked station's calls and a log that is not read, all
at once: two honest stations go on, one of which connects anew for each board."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.networks import in_a_network_with_rules, networks_of_our_own
from harness.process import REPOSITORY

LISTEN = "127.0.0.1:8443"  # the port that the rules name
IDLE = 20_000
HALF_A_CORE = 0.5
LOG_BYTES_A_MINUTE = 1_000_000
SLOWER = 3.0  # times a board's time in quiet, in the worst hundredth
GROWTH = 1.15  # of memory, beyond the most that it was in the first half of the noise


def measured(directory: Path, *, rules: bool, quiet_s: int, noise_s: int, idle: int = IDLE) -> dict[str, Any]:
    settings = {
        "directory": str(directory),
        "quiet_s": quiet_s,
        "noise_s": noise_s,
        "idle": idle,
        "listen": LISTEN if rules else "127.0.0.1:0",
    }
    command = [sys.executable, "-m", "harness.noise_bed", json.dumps(settings)]
    done = subprocess.run(
        in_a_network_with_rules(*command) if rules else command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY / 'tests'}:{os.environ.get('PYTHONPATH', '')}"},
        cwd=REPOSITORY,
        timeout=quiet_s + noise_s + 400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    sys.stdout.write(json.dumps(found) + "\n")  # pytest shows it on a failure, and with -s
    return found


def demand(found: dict[str, Any], *, sockets: int, slower: float, connects_as_ever: bool = False) -> None:
    """Without rules a station that connects anew has 30 s to get in (a problem else); from there its boards
    are as fast as ever. With them connecting is part of what a board takes."""
    assert found["sockets_most"] >= sockets, "the noise was not what it should be"
    assert found["generators_share"] <= HALF_A_CORE * 1.05
    for name, noisy in found["noisy"].items():
        assert noisy["problems"] == []
        part = "with_connecting" if connects_as_ever else "boards"
        assert noisy[part]["p99_ms"] <= slower * found["quiet"][name][part]["p99_ms"], name
    assert found["log_bytes_a_minute"] < LOG_BYTES_A_MINUTE
    assert found["log_lines_dropped"] == 0
    assert found["attacks"] == found["attacks_named"] == 10


def demand_flat(found: dict[str, Any]) -> None:
    """Memory no longer grows in the second half; signerd gives some back now and then, and takes it again."""
    resident = [mib for _, _, mib in found["samples"]]
    half = len(resident) // 2
    assert max(resident[half:]) <= GROWTH * max(resident[:half])


def all_places(found: dict[str, Any]) -> int:
    """20,000; or, where the limit on open files leaves signerd fewer places, all of them but for a hundredth:
    they change hands every five seconds."""
    places = int(found["places"])
    return IDLE if places >= IDLE else int(0.99 * places)


@pytest.fixture
def bed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short path: that of the administrators' socket in it has at most 107 bytes (unix(7))."""
    return tmp_path_factory.mktemp("bed")


@pytest.mark.check
def test_seconds_of_all_noise_at_once(bed: Path) -> None:
    """A look at all of it, but for what takes minutes to settle; on a machine that others use too."""
    found = measured(bed, rules=False, quiet_s=8, noise_s=16, idle=4000)
    demand(found, sockets=4000, slower=10 * SLOWER)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_two_minutes_of_all_noise_at_once(bed: Path) -> None:
    found = measured(bed, rules=False, quiet_s=120, noise_s=120)
    demand(found, sockets=all_places(found), slower=SLOWER)
    demand_flat(found)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_two_minutes_of_all_noise_behind_the_rules_that_are_shipped(bed: Path) -> None:
    if missing := networks_of_our_own():
        pytest.skip(missing)
    found = measured(bed, rules=True, quiet_s=120, noise_s=120)
    demand(found, sockets=1000, slower=SLOWER, connects_as_ever=True)
    demand_flat(found)
    assert found["sockets_most"] < 200 * 64, "the rules bound what an address has"
