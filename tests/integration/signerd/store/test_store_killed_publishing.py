"""Kills at each write of publishing, under load: no checkpoint contradicts another, and tiles end whole.

`birthmark.proof` compares each checkpoint that anybody could have seen with the last one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from birthmark.proof import TileTree, open_checkpoint, parse_vkey, verify_consistency
from harness.publishing_that_dies import Write
from harness.store_world import SoftwareLogKey

ROOT = Path(__file__).parents[4]
KEYS = [parse_vkey(SoftwareLogKey().verifier.text())]


def killed(directory: Path, rounds: int, seed: int, *, within_s: float) -> None:
    paths = os.pathsep.join([str(ROOT / "tests"), str(ROOT), str(ROOT / "proto")])
    program = [sys.executable, "-m", "harness.publishing_that_dies", str(directory), str(rounds), str(seed)]
    done = subprocess.run(
        program,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
        env=os.environ | {"PYTHONPATH": paths},
    )
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, f"after {len(said)} rounds of seed {seed}:\n{done.stderr[-4_000:]}"
    assert len(said) == rounds
    assert {each["died"] for each in said} == set(Write)
    tiles = directory / "tiles"

    def read(path: str) -> bytes | None:
        file = tiles / path
        return file.read_bytes() if file.is_file() else None

    last = open_checkpoint((tiles / "checkpoint").read_bytes(), KEYS)
    tree = TileTree(last.size, read)
    assert tree.root() == last.root
    seen = {open_checkpoint(note.encode(), KEYS) for each in said for note in each["notes"] if signed(note)}
    assert len(seen) > rounds
    for checkpoint in seen:
        verify_consistency(
            old_size=checkpoint.size,
            old_root=checkpoint.root,
            new_size=last.size,
            new_root=last.root,
            proof=tree.consistency_proof(checkpoint.size),
        )


def signed(note: str) -> bool:
    """The mark of an empty log, before its first checkpoint, is not."""
    return "\n\n" in note


@pytest.mark.check
def test_twenty_kills_under_load(tmp_path: Path) -> None:
    killed(tmp_path, 20, 20, within_s=120)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_kills_under_load(tmp_path: Path, seed: int) -> None:
    killed(tmp_path, 200, seed, within_s=3_600)
