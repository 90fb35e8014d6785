"""`signerd chips personalize`: what it gives, what it records, and what a crash of it means."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.edge import Edge
from harness.process import COMMANDS, REPOSITORY, run, wait_until
from signerd.adapters.espefuse import SHEET

pytestmark = pytest.mark.check

DIES = REPOSITORY / "tests" / "harness" / "personalize_that_dies.py"
SITE = ("--site", "lab")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("personalize")) as edge:
        edge.start()
        yield edge


def listed(directory: Path, *chip_ids: str) -> Path:
    chips = directory / "chips.txt"
    chips.write_text("".join(f"{chip_id}\n" for chip_id in chip_ids), "utf-8")
    return chips


def personalize(
    edge: Edge, chips: Path, out: Path, *options: str, expect: int = 0, full: bool = False
) -> str:
    """What the command printed, its refusals too. `full`: no file may have more than 4 KiB."""
    limited = ("sh", "-c", 'ulimit -f 4; exec "$@"', "sh") if full else ()
    command = [COMMANDS / "signerd", "chips", "personalize", chips, *SITE, "--out", out, *options]
    done = subprocess.run(
        [*limited, *map(str, command), "-c", str(edge.installation.config)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def rows(out: Path) -> dict[str, bytes]:
    with out.open(encoding="ascii", newline="") as file:
        found = list(csv.reader(file))
    assert found[0] == ["chip_id", "key"]
    return {chip_id: bytes.fromhex(key) for chip_id, key in found[1:]}


@pytest.mark.parametrize("options", [(), ("--chip", "esp32c3")])
def test_a_full_disk_leaves_no_key_and_says_what_to_do(
    edge: Edge, tmp_path: Path, options: tuple[str, ...]
) -> None:
    chips = listed(tmp_path, *(f"02:00:00:{len(options):02x}:00:{number:02x}" for number in range(100)))
    said = personalize(edge, chips, tmp_path / "out", *options, expect=1, full=True)
    assert f"{tmp_path / 'out'}" in said
    assert "registered, and nothing is left of their keys: run the command again" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
    assert "0 of 100" in personalize(edge, chips, tmp_path / "out", *options)


def test_what_exists_is_not_written_over(edge: Edge, tmp_path: Path) -> None:
    chips = listed(tmp_path, "exists:1")
    personalize(edge, chips, tmp_path / "keys.csv")
    before = (tmp_path / "keys.csv").read_bytes()
    said = personalize(edge, chips, tmp_path / "keys.csv", expect=1)
    assert "keys.csv exists, and is not written over: name a new place" in said
    assert (tmp_path / "keys.csv").read_bytes() == before


def test_a_chip_stays_as_it_was_registered(edge: Edge, tmp_path: Path) -> None:
    chips = listed(tmp_path, "stays:1")
    personalize(edge, chips, tmp_path / "a.csv")
    said = personalize(edge, chips, tmp_path / "b.csv", "--locked", expect=1)
    assert "chip stays:1 is registered as not locked, for good: leave --locked out" in said


def test_lists_as_windows_writes_them(edge: Edge, tmp_path: Path) -> None:
    chips = tmp_path / "chips.txt"
    chips.write_bytes(b"windows:1\r\nwindows:2\r\n")
    personalize(edge, chips, tmp_path / "a.csv")
    assert list(rows(tmp_path / "a.csv")) == ["windows:1", "windows:2"]
    chips.write_bytes(b"\xef\xbb\xbf" + chips.read_bytes())
    said = personalize(edge, chips, tmp_path / "b.csv", expect=1)
    assert "chips.txt: it begins with a byte order mark. Save it as UTF-8 without one." in said
    chips.write_bytes("windows:1\r\n".encode("utf-16"))
    assert "it is UTF-16. Save the file as UTF-8." in personalize(edge, chips, tmp_path / "b.csv", expect=1)


def personalized(edge: Edge, **members: Any) -> list[dict[str, Any]]:
    entries = (entry for entry in edge.entries() if entry["type"] == "chips_personalized")
    return [entry for entry in entries if members.items() <= entry.items()]


def test_who_when_where_and_which_key_stand_in_the_ledger(edge: Edge, tmp_path: Path) -> None:
    chips = listed(tmp_path, "who:1", "who:2")
    personalize(edge, chips, tmp_path / "a.csv", "--by", "ann@example.com", "--locked")
    wanted = {"count": 2, "locked": True, "site": "lab", "key": "hmac-sha256", "by": "ann@example.com"}
    wait_until(lambda: bool(personalized(edge, **wanted)), "the entry")
    personalize(edge, chips, tmp_path / "b.csv", "--by", "a b", "--locked", expect=1)
    assert not (tmp_path / "b.csv").exists()


def test_without_by_it_is_the_user_who_calls_through_sudo_too(edge: Edge, tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, "-m", "signerd", "chips", "personalize"]
    for environment, who in (
        ({"USER": "root", "SUDO_USER": "bob"}, "bob"),
        ({"USER": "carol", "SUDO_USER": ""}, "carol"),
    ):
        chips = listed(tmp_path, f"sudo:{who}")
        subprocess.run(
            [*command, chips, *SITE, "--out", tmp_path / f"{who}.csv", "-c", edge.installation.config],
            env={**os.environ, **environment},
            check=True,
            capture_output=True,
            timeout=60,
        )
        wait_until(lambda who=who: bool(personalized(edge, by=who)), "the entry")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "size"), [("psa-iak-sha256", 32), ("psa-iak-sha384", 48), ("psa-iak-sha512", 64)]
)
def test_keys_for_psa_tokens(edge: Edge, tmp_path: Path, key: str, size: int) -> None:
    chips = listed(tmp_path, f"{key}:1", f"{key}:2")
    personalize(edge, chips, tmp_path / "keys.csv", "--key", key)
    keys = rows(tmp_path / "keys.csv")
    assert [len(each) for each in keys.values()] == [size, size]
    assert len(set(keys.values())) == 2
    wait_until(lambda: bool(personalized(edge, key=key, count=2)), "the entry")
    # A chip has the secret that it was registered with.
    said = personalize(edge, chips, tmp_path / "other.csv", expect=1)
    assert key in said
    assert not (tmp_path / "other.csv").exists()
    assert "psa-iak-sha256" in personalize(edge, chips, tmp_path / "x.csv", "--key", "psa-iak", expect=2)


def test_key_files_and_the_commands_that_burn_them(edge: Edge, tmp_path: Path) -> None:
    chip_ids = ("7c:df:a1:00:00:01", "7c:df:a1:00:00:02")
    chips, folder, table = listed(tmp_path, *chip_ids), tmp_path / "keys", tmp_path / "keys.csv"
    said = personalize(edge, chips, folder, "--chip", "esp32c3", "--key-block", "BLOCK_KEY4", "--locked")
    assert str(folder / SHEET) in said
    assert folder.stat().st_mode & 0o777 == 0o700
    personalize(edge, chips, table, "--locked")
    for chip_id, key in rows(table).items():
        file = folder / f"{chip_id}.key"
        assert (file.read_bytes(), file.stat().st_mode & 0o777) == (key, 0o600)
    assert len(list(folder.iterdir())) == len(chip_ids) + 1
    sheet = (folder / SHEET).read_text("utf-8")
    commands = [shlex.split(line) for line in sheet.splitlines() if line.startswith("    espefuse")]
    assert commands == [
        [
            "espefuse",
            "--chip",
            "esp32c3",
            "--port",
            "$PORT",
            "burn-key",
            "BLOCK_KEY4",
            f"./{chip}.key",
            "HMAC_UP",
        ]
        for chip in chip_ids
    ]
    steps = re.findall(r"(?m)^[1-5]\. (\w+)", sheet)
    assert steps == ["Make", "Burn", "Verify", "Lock", "When"]
    # Nothing of a key stands on the sheet or on the screen.
    for key in rows(table).values():
        assert key.hex() not in sheet + said
    # It overwrites nothing: these may be the only copy.
    personalize(edge, chips, folder, "--chip", "esp32c3", "--locked", expect=1)
    assert (folder / f"{chip_ids[1]}.key").exists()


def test_the_sheet_of_chips_that_are_not_locked_does_not_ask_to_lock_them(edge: Edge, tmp_path: Path) -> None:
    chips = listed(tmp_path, "7c:df:a1:00:01:01")
    personalize(edge, chips, tmp_path / "keys", "--chip", "esp32p4")
    sheet = (tmp_path / "keys" / SHEET).read_text("utf-8")
    assert "registered as not locked" in sheet
    assert "Lock it" not in sheet
    assert "BLOCK_KEY5" in sheet


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (("--chip", "esp32"), 1, "no HMAC peripheral"),
        (("--chip", "esp32c2"), 1, "no HMAC peripheral"),
        (("--chip", "esp32x9"), 1, "known: esp32s2"),
        (("--chip", "esp32s3", "--key-block", "BLOCK_KEY6"), 1, "key block"),
        (("--chip", "esp32s3", "--key", "psa-iak-sha256"), 1, "hmac-sha256"),
        (("--key-block", "BLOCK_KEY5"), 2, "--chip"),
    ],
)
def test_what_could_prove_nothing_is_refused_before_anything_is_registered(
    edge: Edge, tmp_path: Path, options: tuple[str, ...], code: int, reason: str
) -> None:
    chips, out = listed(tmp_path, "never:1"), tmp_path / "out"
    before = personalized(edge)
    assert reason in personalize(edge, chips, out, *options, expect=code)
    assert not out.exists()
    assert personalized(edge) == before


@pytest.mark.parametrize("form", [(), ("--chip", "esp32s3")])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_leaves_no_key_that_the_ledger_does_not_speak_of(
    edge: Edge, tmp_path: Path, form: tuple[str, ...], when: str
) -> None:
    by = f"{when}{len(form)}"
    macs = [f"02:00:{len(form):02x}:{len(when):02x}:00:{number:02x}" for number in (1, 2)]
    chips, out = listed(tmp_path, *macs), tmp_path / "out"
    options: list[str | Path] = ["chips", "personalize", chips, *SITE, "--by", by, *form]
    config = ["-c", str(edge.installation.config)]
    run([sys.executable, DIES, when, *options, "--out", out, *config], expect=-9)
    # Nothing of a key came out, whether or not the ledger speaks of the chips by now.
    left = [out] if out.is_file() else list(out.iterdir())
    assert [file.read_bytes() for file in left if file.is_file()] == ([b""] if out.is_file() else [])
    if when == "after":
        wait_until(lambda: bool(personalized(edge, by=by, count=2)), "the entry")
    # The next run gives the keys; the registry knows the chips already if the first one came that far.
    said = edge.installation.admin(*options, "--out", tmp_path / "again")
    assert ("0 of 2" if when == "after" else "2 of 2") in said
    again = tmp_path / "again"
    keys = [file for file in again.iterdir() if file.suffix == ".key"] if form else list(rows(again))
    assert len(keys) == 2
