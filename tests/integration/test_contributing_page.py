"""CONTRIBUTING.md walked as it is printed: a test, a driver that an entry point names, an evidence method."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.drivers.registry import find_driver
from agent.core.result import Outcome, Result
from agent.errors import ConfigError
from agent.provision import provision
from harness.agent_world import ORDER, AgentWorld, MemoryDriver
from harness.process import REPOSITORY

PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(?:python|toml)\n# (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
FILES = dict(BLOCKS)
(PATCH,) = re.findall(r"^```diff\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
DEADLINE_S = 120


def ran(*command: str | Path, folder: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PYTHONPATH": path} if path else {})
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_the_first_test_passes(tmp_path: Path) -> None:
    (tmp_path / "test_first.py").write_text(FILES["test_first.py"], "utf-8")
    done = ran(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_first.py", folder=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


class Board:
    """A board of the made-up family: JSON lines over TCP, with a simulated board behind them."""

    def __init__(self, driver: MemoryDriver) -> None:
        self.driver = driver
        self.answer: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]] = self.say

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(await self.answer(json.loads(line))).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def say(self, asked: dict[str, Any]) -> dict[str, Any]:
        board, do = self.driver, asked["do"]
        if do == "hello":
            told = (await board.identify()).board
            assert told is not None
            return {
                "model": told.model,
                "chip_id": told.chip_id,
                "firmware": {name: [part.version, part.digest.hex()] for name, part in told.firmware.items()},
                "locks": dict(told.security_state),
                "methods": told.methods,
                "key_types": told.key_types,
                "key": told.key_state,
                "credential": (told.credential_sha256 or b"").hex(),
                "settings": (told.settings_sha256 or b"").hex(),
                "sealed": told.sealed,
            }
        if do == "keygen":
            await board.keygen(asked["key_type"])
        elif do == "request":
            made = await board.request(bytes.fromhex(asked["challenge"]), asked["methods"])
            return {
                "method": made.method,
                "csr": made.csr_der.hex(),
                "claims": made.claims.hex(),
                "evidence": made.evidence.hex(),
            }
        elif do in {"install", "configure"}:
            store = board.install if do == "install" else board.configure
            return {"sha256": (await store(bytes.fromhex(asked["content"]))).hex()}
        elif do == "seal":
            await board.seal()
        elif do == "stamp":
            stamp = await board.stamp(bytes.fromhex(asked["challenge"]))
            return {"stamp": stamp.stamp.hex(), "signature": stamp.signature.hex()}
        return {}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built and installed as printed, into a folder of its own."""
    folder, target = tmp_path_factory.mktemp("acme"), tmp_path_factory.mktemp("installed")
    for name in ("pyproject.toml", "birthmark_acme.py"):
        (folder / name).write_text(FILES[name], "utf-8")
    (line,) = re.findall(r"^    \.venv/bin/pip (install .*)$", PAGE, re.MULTILINE)
    done = ran(sys.executable, "-m", "pip", *line.split(), "--target", target, "--no-index", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@asynccontextmanager
async def standing(board: Board) -> AsyncIterator[str]:
    server = await asyncio.start_server(board.serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
def acme(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.syspath_prepend(installed)
    return Board(AgentWorld.board())


async def taken(board: Board) -> Result:
    async with standing(board) as port:
        return await provision(AgentWorld().station, port, find_driver("acme").open(port, {}, None), ORDER)


async def test_the_driver_is_found_by_its_entry_point_and_takes_a_board(acme: Board) -> None:
    result = await taken(acme)
    assert (result.outcome, result.code) == (Outcome.PASS, ""), result.detail
    assert acme.driver.board.sealed


@pytest.mark.parametrize("answer", [{}, {"error": "x"}, {"chip_id": 1, "model": []}])
async def test_an_answer_that_is_none_ends_the_board_with_a_code(acme: Board, answer: dict[str, Any]) -> None:
    async def say(_asked: dict[str, Any]) -> dict[str, Any]:
        return answer

    acme.answer = say
    result = await taken(acme)
    assert result.outcome is Outcome.FAIL
    assert result.code in {"bad_answer", "bad_state"}


async def test_its_options_are_checked(acme: Board) -> None:  # noqa: ARG001 (puts the package on the path)
    with pytest.raises(ConfigError, match="colour"):
        async with find_driver("acme").open("127.0.0.1:1", {"colour": "red"}, None):
            pass


WALK = """
import sys
from datetime import UTC, datetime
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from auditor.core.evidence import pledge as auditors, recheck
from auditor.core.product import read_product
from auditor.errors import CheckFailed
from signerd.core.evidence import METHODS, pledge
from signerd.core.evidence.method import EvidenceError
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.names import Level
from types import SimpleNamespace

vendor, chip = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
pledge.VENDOR = auditors.VENDOR = vendor.public_key().public_bytes_raw()
key = chip.public_key().public_bytes_raw()
good = key + vendor.sign(key) + chip.sign(b"transcript")
rules = EvidenceRules.model_validate({"methods": ["pledge"]})
read = read_product(b'name = "sensor"\\n[evidence]\\nmethods = ["pledge"]\\n')
asked = SimpleNamespace(transcript=b"transcript")
checked = SimpleNamespace(transcript=b"transcript", rules=read)
proved = METHODS["pledge"].verify(asked, good, None)
shown = recheck.recheck("pledge", checked, good)
assert proved.level is Level.CHIP
assert shown.level == "chip"
assert proved.attester == shown.attester
assert [a.value for a in proved.anchors] == [a.value for a in shown.anchors]
other_key = good[:32] + vendor.sign(b"another") + good[96:]
for bad in (good[:-1], good + b"x", other_key, good[:96] + chip.sign(b"another"), b""):
    for refuse, error in (
        (lambda: METHODS["pledge"].verify(asked, bad, None), EvidenceError),
        (lambda: recheck.recheck("pledge", checked, bad), CheckFailed),
    ):
        try:
            refuse()
        except error:
            continue
        sys.exit(f"taken: {bad.hex()}")
print(rules.methods[0], METHODS["pledge"].traits.describe(rules))
"""


def test_the_evidence_method_in_a_copy_of_the_tree(tmp_path: Path) -> None:
    for part in ("signerd", "auditor", "proto"):
        shutil.copytree(REPOSITORY / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("signerd/core/evidence/pledge.py", "auditor/core/evidence/pledge.py"):
        (tmp_path / name).write_text(FILES[name], "utf-8")
    (tmp_path / "pledge.diff").write_text(PATCH, "utf-8")
    (tmp_path / "walk.py").write_text(WALK, "utf-8")
    patched = ran("git", "apply", "--unidiff-zero", "pledge.diff", folder=tmp_path)
    assert patched.returncode == 0, patched.stderr
    done = ran(sys.executable, "walk.py", folder=tmp_path, path=f"{tmp_path}:{tmp_path / 'proto'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "pledge chips whose key the vendor signed\n"
