"""The suites of `make check`, one after the other, each within a budget of minutes.

    python -m suites               all of them
    python -m suites hostile e2e   these

A suite that fails, that takes longer than its budget or that runs no test fails the whole; the others run
all the same. The budgets are for two quiet cores, some one and a quarter to one and a half times what the
suites take there. A machine may be slower, or not be ours alone: before and after each suite some fixed work
is timed, and where it takes longer than on two quiet cores, so may the suite. At twice its budget a suite is
killed. Together they leave part of CI's hour free for suites to come.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CI_MINUTES = 60
KEPT_FREE = 4  # for what follows
TEST = "not check and not soak and not bench"
CHECK = "check and not soak and not bench"
NO_TESTS = 5  # pytest's exit code
_KILLED = -signal.SIGKILL
_WORK = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 3_000_000)"
_WORK_S = 0.75  # on each of two quiet cores
_LONGEST = 2.0  # times a budget, whatever the machine: all of CI has an end too


@dataclass(frozen=True, slots=True)
class Suite:
    """Some part of what CI runs. `paths` and `tier` are pytest's, where it is tests."""

    name: str
    minutes: float
    command: tuple[str, ...] = ()
    tier: str = ""
    paths: tuple[str, ...] = ()

    def line(self) -> list[str]:
        """The command."""
        if self.command:
            return list(self.command)
        return [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "-m", self.tier, *self.paths]


SUITES = (
    Suite("lint", 1, command=("deploy/setup/lint.sh",)),
    # All that `make test` runs, of every folder; the next three are what it leaves out. On two quiet cores it
    # is to take 8 minutes at most; CI's machines are not always quiet.
    Suite("test", 11, tier=TEST, paths=("tests",)),
    Suite("integration", 20, tier=CHECK, paths=("tests/unit", "tests/integration", "tests/fuzz")),
    Suite("hostile", 10, tier=CHECK, paths=("tests/hostile",)),
    Suite("e2e", 9, tier=CHECK, paths=("tests/e2e",)),
    # The station on Windows, under Wine; .ci/run makes what they run in, and keeps it in ~/.cache/birthmark.
    Suite("windows", 4, tier=CHECK, paths=("tests/windows",)),
    Suite("demo", 1, command=(sys.executable, "-m", "demo.run")),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a suite ended."""

    suite: Suite
    code: int
    seconds: float
    pace: float = 1.0  # how many times as long as on two quiet cores work takes here

    @property
    def budget(self) -> float:
        """Seconds, for this machine."""
        return self.suite.minutes * 60 * min(max(self.pace, 1.0), _LONGEST)

    @property
    def problem(self) -> str:
        """What is wrong, or an empty text."""
        if self.code == _KILLED:
            return "killed at twice its budget"
        if self.code == NO_TESTS and not self.suite.command:
            return "it ran no test"
        if self.code != 0:
            return f"failed with exit code {self.code}"
        if self.seconds > self.budget:
            return "over its budget: make it faster, or mark what is long `soak`"
        return ""


def run(suite: Suite) -> Outcome:
    """Runs a suite to its end; what it says goes to the terminal."""
    print(f"\n== {suite.name}: {' '.join(suite.line())}", flush=True)
    before = pace()
    begin = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": "tests"}
    process = subprocess.Popen(suite.line(), cwd=REPOSITORY, env=environment, start_new_session=True)
    try:
        code = process.wait(timeout=_LONGEST * 60 * suite.minutes)
    except subprocess.TimeoutExpired:
        code = _KILLED
    finally:
        if process.poll() is None:  # also when this is interrupted
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    seconds = time.monotonic() - begin
    return Outcome(suite, code, seconds, (before + pace()) / 2)


def pace() -> float:
    """How many times as long as on two quiet cores work takes now."""
    begin = time.monotonic()
    workers = [subprocess.Popen([sys.executable, "-c", _WORK]) for _ in range(2)]
    codes = [worker.wait() for worker in workers]
    if any(codes):
        raise RuntimeError("the work that tells a machine's pace failed")
    return (time.monotonic() - begin) / _WORK_S


def table(outcomes: Sequence[Outcome]) -> str:
    """A line for each suite."""
    lines = [f"{'suite':<12} {'seconds':>8} {'budget':>8} {'pace':>6}"]
    for each in outcomes:
        figures = f"{each.seconds:8.0f} {each.budget:8.0f} {each.pace:6.2f}"
        lines.append(f"{each.suite.name:<12} {figures}  {each.problem or 'ok'}")
    lines.append(f"{'together':<12} {sum(each.seconds for each in outcomes):8.0f}")
    return "\n".join(lines)


def main(names: Sequence[str]) -> int:
    """Runs these suites, or all; 1 if one of them has a problem."""
    known = {suite.name: suite for suite in SUITES}
    if unknown := set(names) - set(known):
        print(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    outcomes = [run(known[name]) for name in names or known]
    print(f"\n{table(outcomes)}", flush=True)
    return int(any(each.problem for each in outcomes))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
