"""`signerd token probe` on modules that do not want to be looked at: it comes back, with words and a code."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from harness.signerd_commands import SIGNERD

pytestmark = pytest.mark.check

_MODULE = """
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void begin(void) { %s }
"""
_DEADLINE_S = 3
_MOST_SAID = 10_000  # characters, of the command in all


def _probe(folder: Path, does: str) -> tuple[int, str]:
    """On a module that does this when it is loaded: the exit code, and all that was said."""
    source, module = folder / "module.c", folder / "module.so"
    source.write_text(_MODULE % does)
    compiler = shutil.which("cc") or "gcc"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(module), str(source)], check=True)
    begun = time.monotonic()
    done = subprocess.run(
        [str(SIGNERD), "token", "probe", str(module), "--deadline", str(_DEADLINE_S)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert time.monotonic() - begun < 60
    return done.returncode, done.stdout + done.stderr


def _left(module: Path) -> list[psutil.Process]:
    """Processes that have the module loaded."""

    def has(process: psutil.Process) -> bool:
        try:
            return str(module) in Path(f"/proc/{process.pid}/maps").read_text("utf-8", "replace")
        except OSError:  # it ended just now
            return False

    return [process for process in psutil.process_iter() if has(process)]


def test_the_honest_twin_is_no_module_and_said_to_be_none(tmp_path: Path) -> None:
    code, said = _probe(tmp_path, "")
    assert code == 3
    assert "undefined symbol: C_GetFunctionList" in said


@pytest.mark.parametrize(
    ("does", "ended"),
    [
        ("for (;;) pause();", "did not come back within 3 s while loading the module"),
        ("for (;;) ;", "did not come back within 3 s while loading the module"),
        ("abort();", "the module crashed while loading the module (SIGABRT)"),
        ("_exit(0);", "the module crashed while loading the module (exit code 0)"),
        ('for (;;) fprintf(stderr, "\\033[2Jnoise\\n");', "did not come back within 3 s while loading"),
        ("for (int fd = 0; fd < 64; fd++) close(fd); for (;;) pause();", "while loading the module"),
        # A child that keeps the line open after the process has gone.
        ("if (fork()) _exit(1); sleep(600);", "while loading the module"),
    ],
    ids=["waits", "spins", "aborts", "exits", "floods", "closes", "forks"],
)
def test_it_comes_back_from_a_module_that(tmp_path: Path, does: str, ended: str) -> None:
    code, said = _probe(tmp_path, does)
    assert code == 75
    assert ended in said
    assert "\x1b" not in said
    assert len(said) < _MOST_SAID
    psutil.wait_procs(left := _left(tmp_path / "module.so"), timeout=30)
    assert not [process for process in left if process.is_running()]
