"""`birthmark-auditor serve-tiles` as a process, over what signerd published."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from harness.process import COMMANDS
from harness.store_world import SoftwareLogKey, World, refusals

AUDITOR = COMMANDS / "birthmark-auditor"


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.create()
    async with made.opened() as store:
        await store.append_refusals(refusals(299))
    return made


@contextmanager
def serving(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    command: list[str | Path] = [AUDITOR, "serve-tiles", *arguments, "--listen", "127.0.0.1:0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def written(path: Path, key: SoftwareLogKey) -> Path:
    path.write_text(key.verifier.text() + "\n", encoding="utf-8")
    return path


def test_what_was_published_is_served(world: World, tmp_path: Path) -> None:
    key = written(tmp_path / "log.vkey", world.log_key)
    with serving(world.tiles, "--vkey", key) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert (said["event"], said["origin"], said["size"]) == ("serving", "test.example/line", 300)
        for path in (
            "checkpoint",
            "tile/0/000",
            "tile/0/001.p/44",
            "tile/1/000.p/1",
            "tile/entries/001.p/44",
        ):
            with urlopen(said["url"] + path, timeout=30) as answer:
                assert answer.read() == (world.tiles / path).read_bytes()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("what", ["another key", "no checkpoint", "no folder"])
def test_what_is_not_the_log_is_not_served(world: World, tmp_path: Path, what: str) -> None:
    key = world.log_key if what != "another key" else SoftwareLogKey(b"another")
    folder = world.tiles
    if what == "no folder":
        folder = tmp_path / "nowhere"
    elif what == "no checkpoint":
        (folder / "checkpoint").unlink()
    with serving(folder, "--vkey", written(tmp_path / "log.vkey", key)) as process:
        said = process.communicate(timeout=30)
        assert process.returncode == (1 if what == "another key" else 3), said
        assert said[0] == ""
