"""Programs as separate processes: started, watched, killed by their own pid, and always ended.

with Program(["signerd", "run"], log=directory / "signerd.log") as program:
    wait_until(lambda: "serving" in program.output(), "signerd to serve", program=program)
    program.kill()
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from harness.loaded_commands import is_loaded, loaded_command

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = Path(sys.executable).parent  # of the environment in which this runs
_POLL_S = 0.02


class ProgramError(AssertionError):
    """A program ended, or did not do what was waited for; the text holds the end of its output."""


class Program:
    """One process. Standard output and standard error each go to a file."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        commanded: bool = False,
    ) -> None:
        """`commanded`: `tell` writes to its standard input, which is closed otherwise."""
        self.command = [str(part) for part in command]
        self.stdout_file = log.with_suffix(".out")
        self.stderr_file = log.with_suffix(".err")
        with self.stdout_file.open("ab") as out, self.stderr_file.open("ab") as err:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE if commanded else subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=REPOSITORY,
                env={**os.environ, **(environment or {})},
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def running(self) -> bool:
        """True until the process has ended."""
        return self._process.poll() is None

    def output(self) -> str:
        """Standard output so far."""
        return self.stdout_file.read_text(encoding="utf-8", errors="replace")

    def errors(self) -> str:
        """Standard error so far."""
        return self.stderr_file.read_text(encoding="utf-8", errors="replace")

    def tell(self, line: str) -> None:
        """Writes a line to standard input."""
        assert self._process.stdin is not None, "the program was started without `commanded`"
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def children(self) -> list[psutil.Process]:
        """Processes that this one started, and theirs."""
        return psutil.Process(self.pid).children(recursive=True)

    def kill(self) -> None:
        """SIGKILL: no clean-up of any kind."""
        self._process.kill()
        self._process.wait(timeout=10)

    def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM, and the exit code. Kills the process, and what it started, when it does not end."""
        if self.running():
            family = self.children()
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(timeout=10)
            for orphan in psutil.wait_procs(family, timeout=5)[1]:
                orphan.kill()
        return self._process.returncode

    def wait(self, timeout_s: float = 60.0) -> int:
        """The exit code, once the process ends by itself.

        Raises:
            ProgramError: it does not.
        """
        try:
            return self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ProgramError(f"{self.describe()} did not end within {timeout_s} s") from error

    def describe(self) -> str:
        """The command, and the end of what it said."""
        said = (self.output()[-1500:] + self.errors()[-1500:]).strip()
        return f"`{' '.join(self.command)}` (pid {self.pid}); it said:\n{said}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def or_ended(end: Callable[[], object]) -> Iterator[None]:
    """Set-up that starts processes: where it fails, `end` ends them. No `with` statement does it then."""
    try:
        yield
    except BaseException:
        end()
        raise


def wait_until(
    condition: Callable[[], bool], what: str, *, timeout_s: float = 30.0, program: Program | None = None
) -> None:
    """Returns when `condition` holds.

    Raises:
        ProgramError: it does not within the time, or `program` ended before.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        detail = "" if program is None else "\n" + program.describe()
        if program is not None and not program.running():
            raise ProgramError(f"waited for {what}, and the program ended:{detail}")
        if time.monotonic() > deadline:
            raise ProgramError(f"waited {timeout_s} s for {what}:{detail}")
        time.sleep(_POLL_S)


def _done(
    command: list[str], directory: Path, environment: dict[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    if is_loaded(command, environment):
        done = loaded_command(command, directory=directory, environment=environment, timeout_s=timeout_s)
        if done is not None:
            return done
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=directory,
        env=environment,
    )


def run(
    command: Sequence[str | Path],
    *,
    expect: int = 0,
    timeout_s: float = 120.0,
    directory: Path = REPOSITORY,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Runs a program to its end and returns what it printed; in our environment, unless one is given.

    Raises:
        ProgramError: its exit code is not the expected one.
    """
    text = [str(part) for part in command]
    done = _done(text, directory, dict(os.environ if environment is None else environment), timeout_s)
    if done.returncode != expect:
        raise ProgramError(
            f"`{' '.join(text)}` ended with {done.returncode}, not {expect}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout
