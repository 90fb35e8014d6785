"""`signerd chips personalize`."""

from __future__ import annotations

from pathlib import Path

from harness.edge import Edge
from harness.signerd_commands import signerd


def test_chip_keys_are_for_their_owner_alone(edge: Edge, tmp_path: Path) -> None:
    chips, keys = tmp_path / "chips.txt", tmp_path / "keys.csv"
    chips.write_text("".join(f"k:{number}\n" for number in range(20)), "utf-8")
    arguments = ("chips", "personalize", chips, "--site", "lab", "--out", keys)
    assert "20 of 20" in edge.installation.admin(*arguments)
    assert keys.stat().st_mode & 0o777 == 0o600
    lines = keys.read_text("ascii").splitlines()
    assert (lines[0], len(lines), len(set(lines))) == ("chip_id,key", 21, 21)
    assert signerd(edge.installation, *arguments)[0] == 1  # it overwrites nothing
    locked = tmp_path / "locked.csv"
    code, _ = signerd(edge.installation, *arguments[:-1], locked, "--locked")
    assert code == 1  # known as not locked
    assert not locked.exists()
    again = tmp_path / "again.csv"
    assert "0 of 20" in edge.installation.admin(*arguments[:-1], again)
    assert again.read_text("ascii") == keys.read_text("ascii")
