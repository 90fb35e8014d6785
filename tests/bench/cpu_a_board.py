"""What a board costs signerd, beside an earlier commit of this repository, in one run on one machine.

Both signerds run at once and are loaded in turn, so that what else the machine does falls on both. The figure
is the ratio of the medians.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from harness.process import REPOSITORY

# Before chips had anchors, entries form 2 and calls the budgets of docs/threat-model.md.
BASE = "c2a102c"
ROUNDS = 9
BOARDS = 400


def measure_cpu_a_board(folder: Path, *, base: str = BASE, rounds: int = ROUNDS, boards: int = BOARDS) -> Any:
    """CPU milliseconds a board of `base` and of this tree, or None where the commit is not there (a clone
    that is not whole)."""
    folder.mkdir(parents=True, exist_ok=True)
    tree = folder / "base"
    if not _checked_out(base, tree):
        return None
    figures: dict[str, list[float]] = {"base": [], "now": []}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, tree)
        sides = {
            name: stack.enter_context(_side(where, folder / name, boards, rounds))
            for name, where in (("base", tree), ("now", REPOSITORY))
        }
        for number in range(rounds):
            order = list(sides) if number % 2 else list(reversed(sides))
            for name in order:
                figures[name].append(_ask(sides[name]))
    before, now = median(figures["base"]), median(figures["now"])
    return {
        "base": base,
        "boards": boards,
        "rounds": rounds,
        "base_ms": round(before, 3),
        "now_ms": round(now, 3),
        "ratio": round(now / before, 3),
        "rounds_ms": {name: [round(each, 2) for each in values] for name, values in figures.items()},
    }


def _checked_out(commit: str, tree: Path) -> bool:
    """The files of the commit in a folder, with the code of its messages."""
    archive = subprocess.run(
        ["git", "-C", REPOSITORY, "archive", commit], capture_output=True, check=False, timeout=120
    )
    if archive.returncode != 0:
        return False
    tree.mkdir()
    subprocess.run(["tar", "-x", "-C", tree], input=archive.stdout, check=True, timeout=120)
    protos = [str(path.relative_to(tree)) for path in tree.glob("proto/birthmark/v1/*.proto")]
    generate = [sys.executable, "-m", "grpc_tools.protoc", "-I", "proto", "--python_out=proto"]
    subprocess.run([*generate, "--grpc_python_out=proto", *protos], cwd=tree, check=True, timeout=120)
    return True


@contextmanager
def _side(tree: Path, folder: Path, boards: int, rounds: int) -> Iterator[subprocess.Popen[str]]:
    script = REPOSITORY / "tests" / "bench" / "cpu_side.py"
    path = os.pathsep.join(str(tree / part) for part in (".", "proto", "tests"))
    with (
        (folder.parent / f"{folder.name}.err").open("wb") as log,
        subprocess.Popen(
            [sys.executable, script, str(folder / "installation"), str(boards), str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": path},
        ) as process,
    ):
        try:
            _answer(process)
            yield process
        finally:
            if process.stdin is not None:
                process.stdin.close()  # it ends by itself, and its signerd with it


def _ask(side: subprocess.Popen[str]) -> float:
    assert side.stdin is not None
    side.stdin.write("\n")
    side.stdin.flush()
    return float(_answer(side))


def _answer(side: subprocess.Popen[str]) -> str:
    assert side.stdout is not None
    answer = side.stdout.readline()
    if not answer:
        raise RuntimeError(f"{side.args!r} ended")
    return answer


if __name__ == "__main__":
    with TemporaryDirectory() as directory:
        json.dump(measure_cpu_a_board(Path(directory) / "cpu"), sys.stdout, indent=2)
