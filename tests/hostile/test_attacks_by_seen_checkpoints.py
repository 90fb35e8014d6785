"""Checkpoints that stations send: none of their making stops signerd or costs it much, and one that the log's
key signed does, where database and second place were both put back."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.hostile_line import HostileLine, code_of
from harness.installation import Installation
from signerd.core.note import Checkpoint, VerifierKey, parse_vkey, sign_note

pytestmark = pytest.mark.check

CONFIGURATION = 3  # exit code


class Line(HostileLine):
    """A line whose state can be copied and put back, second place and all."""

    def __init__(self, directory: Path) -> None:
        super().__init__(Installation(directory / "installation"))
        self._copy = directory / "copy"

    @property
    def origin(self) -> str:
        return parse_vkey((self.installation.home / "log.vkey").read_text("ascii")).name

    def certified(self, order: str) -> bytes:
        """One more board; the checkpoint of its receipt."""
        _, signed = self.pc1.certify(order, self.board())
        return signed.receipt.partition(b"\n\n")[2]

    def keep(self) -> None:
        """Copies what a snapshot of the machine has."""
        self.installation.process.stop()
        home = self.installation.home
        for name in ("signerd.sqlite", "head", "tiles"):
            kept = self._copy / name
            kept.parent.mkdir(exist_ok=True)
            (shutil.copytree if (home / name).is_dir() else shutil.copy)(home / name, kept)
        self.installation.start_signerd()
        self.reconnect()

    def put_back(self) -> None:
        """Goes back to the copy, the second place and tiles too, and starts."""
        self.installation.process.stop()
        home = self.installation.home
        for folder in ("head", "tiles"):
            shutil.rmtree(home / folder)
        for left in home.glob("signerd.sqlite*"):
            left.unlink()
        for folder in ("head", "tiles"):
            shutil.copytree(self._copy / folder, home / folder)
        shutil.copy(self._copy / "signerd.sqlite", home / "signerd.sqlite")
        self.installation.start_signerd()
        self.reconnect()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    made = Line(tmp_path_factory.mktemp("seen"))
    with made.installation:
        yield made
        made.close()


def forged(origin: str) -> bytes:
    """A larger tree under the log's name, signed by a key of the station's own."""
    key = Ed25519PrivateKey.generate()
    body = Checkpoint(origin, 1_000_000, bytes(32)).body()
    verifier = VerifierKey(origin, key.public_key().public_bytes_raw())
    return sign_note(body, (verifier, key.sign(body)))


def with_key_id_of(genuine: bytes, note: bytes) -> bytes:
    """The forged note, whose signature claims the id of the log's key."""
    return note.rpartition(b"\n\n")[0] + b"\n\n" + genuine.rpartition(b"\n\n")[2]


SENT: dict[str, Callable[[str, bytes], bytes]] = {
    "genuine": lambda _origin, note: note,
    "forged": lambda origin, _note: forged(origin),
    "forged under the key's id": lambda origin, note: with_key_id_of(note, forged(origin)),
    "of another log": lambda _origin, _note: forged("elsewhere.example/log"),
    "cut": lambda _origin, note: note[: len(note) // 2],
    "eight kilobytes of signatures": lambda _origin, note: (note + b"\xe2\x80\x94 a AAAAAAAA\n" * 480)[:8192],
    "no text": lambda _origin, _note: b"\xff\x00" * 4096,
}


def test_what_a_station_makes_itself_is_passed_over(line: Line) -> None:
    order = line.open_order()
    genuine = line.certified(order)
    board = line.board()
    for name, made in SENT.items():
        asked = partial(line.pc1.open, order, board.chip_id, made(line.origin, genuine))
        assert code_of(asked) == "", name
    huge = genuine + b"x" * 8_192
    assert code_of(lambda: line.pc1.open(order, board.chip_id, huge)) == "request_malformed"
    line.certified(order)


def test_a_thousand_a_second_cost_what_calls_cost(line: Line) -> None:
    """Each different, each with the key's id, so that each wants a signature verified. Rates bound them, and
    another station works on."""
    order, chips = line.open_order(), [line.board().chip_id for _ in range(8)]
    genuine = line.certified(order)
    wrong = [with_key_id_of(genuine, forged(line.origin)) for _ in range(50)]
    begun, codes = time.monotonic(), Counter[str]()
    while time.monotonic() - begun < 3:
        for note in wrong:
            codes[code_of(partial(line.pc2.open, order, chips[0], note))] += 1
    assert set(codes) <= {"", "rate_limited"}
    assert code_of(lambda: line.pc1.open(order, chips[1], genuine)) == ""
    line.certified(order)


def test_a_snapshot_with_its_second_place_is_found_at_the_first_call(line: Line) -> None:
    """What no check of the start can see: both places say the same."""
    order = line.open_order(quantity=20)
    before = line.certified(order)
    line.keep()
    seen = line.certified(order)
    line.put_back()
    board = line.board()
    assert code_of(lambda: line.pc2.open(order, board.chip_id)) == ""  # an older agent's, without the field
    assert code_of(lambda: line.pc2.open(order, board.chip_id, before)) == ""  # one that saw no more
    assert code_of(lambda: line.pc1.open(order, board.chip_id, seen)) == "ledger_differs"
    process = line.installation.process
    assert process.wait(120) == CONFIGURATION
    said = process.errors()
    assert line.pc1.uri in said
    assert "A backup was restored" in said
    again = line.installation.start(
        [*process.command], "again"
    )  # the service manager would not, a person does
    assert again.wait(120) == CONFIGURATION
    assert "a station saw a checkpoint" in again.errors()
