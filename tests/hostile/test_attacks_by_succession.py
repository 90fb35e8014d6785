"""Successors of a log that nobody may make: with one of the two keys, of another log, older, changed, cut,
huge."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from agent.adapters.signer.seen_checkpoint import SeenCheckpoint
from agent.core.log_keys import LogKey, parse_log_keys
from agent.errors import BadAnswer, JournalError
from birthmark.proof import ProofError, Reason, log_name, open_checkpoint, open_succession, parse_vkey
from birthmark.proof.succession import MAX_SUCCESSION_BYTES
from harness.succession_samples import KNOWN, LEFT, LOG, LOST_ROOT, Sample, after, company, log_key
from signerd.config import LogNameSettings
from signerd.core.succession import Predecessor, read_succession

HONEST = Sample()
KEYS = [parse_vkey(HONEST.verifier().text())]
CAS = [company().certificate]
SECOND = f"{LOG}/successor-2"


def pinned() -> LogKey:
    return parse_log_keys(HONEST.verifier().text())


def cas() -> list[x509.Certificate]:
    return CAS


def test_the_honest_one_is_followed() -> None:
    found = open_succession(HONEST.data(), KEYS, CAS)
    assert (found.number, found.origin, found.continued, found.lost) == (2, SECOND, LEFT, KNOWN - LEFT)
    assert read_succession(LEFT, json.loads(found.entry)).predecessors[0].root == LOST_ROOT
    # Under any of the log's names; a new reader pins the successor's.
    data = HONEST.data()
    by_name = [
        open_succession(data, [parse_vkey(HONEST.verifier(name).text())], CAS) for name in (LOG, SECOND)
    ]
    assert by_name[0] == by_name[1]


def changed(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new, 1)


def test_a_stolen_operations_ca_is_not_enough() -> None:
    thief = replace(HONEST, key=log_key(b"the thief's"))
    with pytest.raises(ProofError) as caught:
        open_succession(thief.data(), KEYS, CAS)
    assert caught.value.reason is Reason.UNSIGNED


def test_a_stolen_key_of_the_log_is_not_enough() -> None:
    thief = replace(HONEST, ca=company("thief"))
    with pytest.raises(ProofError, match="no operations CA") as caught:
        open_succession(thief.data(), KEYS, CAS)
    assert caught.value.reason is Reason.UNSIGNED
    with pytest.raises(ProofError, match="no operations CA"):
        open_succession(HONEST.data(), KEYS, [])


LESS = replace(HONEST, predecessors=(Predecessor(1, KNOWN + 90, LOST_ROOT, LEFT),))
OTHER_ROOT = replace(HONEST, predecessors=(Predecessor(1, KNOWN, bytes(32), LEFT),))


@pytest.mark.parametrize(
    ("what", "wrong"),
    [
        ("of another log", replace(HONEST, log="log.example/other").data()),
        ("a changed size", replace(LESS, said=HONEST).data()),
        ("a changed root", replace(OTHER_ROOT, said=HONEST).data()),
        ("a changed number", replace(after(HONEST, known=9, left=2), said=HONEST).data()),
        ("a changed byte", changed(HONEST.data(), b'"by":"ann"', b'"by":"bob"')),
        ("of another deployment's CA and key", replace(HONEST, ca=company("x"), key=log_key(b"x")).data()),
        ("an entry alone", HONEST.entry() + b"\n"),
        ("another type", changed(HONEST.data(), b"log_succeeded", b"log_opened")),
        ("more goes on than was", changed(HONEST.data(), b'"continued":3', b'"continued":6')),
        ("a member twice", changed(HONEST.data(), b"{", b'{"number":2,')),
        ("deep", b"[" * 10_000 + b"\n"),
        ("huge", HONEST.data() + b"\n" * MAX_SUCCESSION_BYTES),
        ("no text", b"\xff\xfe\n"),
        ("a float", changed(HONEST.data(), b'"number":2', b'"number":2.0')),
        ("number 0", changed(HONEST.data(), b'"number":2', b'"number":0')),
        ("empty", b""),
    ],
)
def test_what_does_not_hold(what: str, wrong: bytes) -> None:
    with pytest.raises(ProofError):
        raise AssertionError(f"{what} was taken: {open_succession(wrong, KEYS, CAS)}")


def test_cut_anywhere_it_is_none() -> None:
    data = HONEST.data()
    for end in range(0, len(data) - 1, 7):
        with pytest.raises(ProofError):
            open_succession(data[:end], KEYS, CAS)


def test_an_entry_elsewhere_in_the_tree_is_none() -> None:
    """A genuine entry that a thief of the log's key puts into a tree of theirs."""
    sample = replace(HONEST, continued=7, said=HONEST)
    with pytest.raises(ProofError):
        open_succession(sample.data(), KEYS, CAS)


# A station.


def station(folder: Path) -> SeenCheckpoint:
    return SeenCheckpoint(folder, pinned(), cas)


async def saw(folder: Path, note: bytes) -> SeenCheckpoint:
    found = station(folder)
    await found.saw(b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + note)
    assert found.to_send == note
    return found


async def test_a_station_follows_and_never_goes_back(tmp_path: Path) -> None:
    seen = await saw(tmp_path, HONEST.note(4, root=bytes(32)))  # of the lost part
    await seen.follow(HONEST.data())
    assert seen.key.name == SECOND
    assert seen.to_send == HONEST.note(4, root=bytes(32))  # until there is a newer one
    for one in (seen, station(tmp_path)):  # over a restart too
        assert one.key.name == SECOND
        await one.follow(HONEST.data())
        with pytest.raises(BadAnswer, match="an older log"):
            await one.follow(b"")
        with pytest.raises(ProofError):  # a receipt of the log before
            open_checkpoint(HONEST.note(9), one.key.verifiers)


async def test_a_station_takes_no_older_succession(tmp_path: Path) -> None:
    third = after(HONEST, known=9, left=2)
    seen = station(tmp_path)
    await seen.follow(third.data())
    assert seen.key.name == f"{LOG}/successor-3"
    with pytest.raises(BadAnswer, match="an older log"):
        await seen.follow(HONEST.data())
    assert station(tmp_path).key.name == f"{LOG}/successor-3"


async def test_a_station_that_saw_more_does_not_follow(tmp_path: Path) -> None:
    seen = await saw(tmp_path, HONEST.note(KNOWN + 1, root=bytes(32)))
    with pytest.raises(BadAnswer, match="more was lost than it says") as caught:
        await seen.follow(HONEST.data())
    assert str(seen.path) in caught.value.remedy
    assert "ledger succeed --checkpoint" in caught.value.remedy
    assert seen.key.name == LOG
    more = replace(HONEST, number=3, predecessors=(
        Predecessor(1, KNOWN + 1, bytes(32), LEFT), Predecessor(2, 9, bytes(32), LEFT)))  # fmt: skip
    await seen.follow(more.data())
    assert seen.key.name == f"{LOG}/successor-3"


async def test_another_tree_of_the_known_size_is_not_followed(tmp_path: Path) -> None:
    seen = await saw(tmp_path, HONEST.note(KNOWN, root=bytes(32)))
    with pytest.raises(BadAnswer, match="another tree of"):
        await seen.follow(HONEST.data())


async def test_two_successors_of_one_number_stop_the_line_and_both_are_kept(tmp_path: Path) -> None:
    seen, both = station(tmp_path), [HONEST.data(), LESS.data()]
    await seen.follow(both[0])
    with pytest.raises(BadAnswer, match="two successors"):
        await seen.follow(both[1])
    assert kept(tmp_path) == both
    assert station(tmp_path).key.name == SECOND


async def test_a_rival_that_nobody_signed_is_no_proof(tmp_path: Path) -> None:
    seen = station(tmp_path)
    await seen.follow(HONEST.data())
    with pytest.raises(BadAnswer, match="no operations CA"):
        await seen.follow(replace(LESS, ca=company("thief")).data())
    assert len(kept(tmp_path)) == 1


async def test_a_later_succession_hides_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    """The station saw nothing itself, and was told of a loss."""
    seen = station(tmp_path)
    await seen.follow(HONEST.data())
    third = after(HONEST, known=9, left=2)
    smaller = replace(third.predecessors[0], size=KNOWN - 1)
    with pytest.raises(BadAnswer, match="more was lost than it says"):
        await seen.follow(replace(third, predecessors=(smaller, *third.predecessors[1:])).data())
    other = replace(third.predecessors[0], root=bytes(32))
    with pytest.raises(BadAnswer, match="another tree of"):
        await seen.follow(replace(third, predecessors=(other, *third.predecessors[1:])).data())
    assert station(tmp_path).key.name == SECOND
    await seen.follow(third.data())


def files_in(text: str, folder: Path) -> int:
    """How many files of the folder it names, each of which is there."""
    named = [Path(word.rstrip(".")) for word in re.findall(r"/[^ ]+", text) if str(folder) in word]
    assert all(path.is_file() for path in named)
    return len(named)


def kept(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("succession-*"))]


def damage(folder: Path, make: Callable[[bytes], bytes]) -> None:
    (path,) = folder.glob("succession-*")
    path.write_bytes(make(path.read_bytes()))


@pytest.mark.parametrize("make", [lambda data: data[:-40], lambda _data: b"{}\n", lambda data: data * 200])
async def test_a_damaged_file_does_not_lead_back(tmp_path: Path, make: Callable[[bytes], bytes]) -> None:
    await station(tmp_path).follow(HONEST.data())
    damage(tmp_path, make)
    with pytest.raises(JournalError, match="damaged"):
        station(tmp_path)


async def test_a_crash_leaves_the_log_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Crash(BaseException):
        pass

    def dies(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr("agent.adapters.signer.seen_checkpoint.replace", dies)
        seen = station(tmp_path)
        with pytest.raises(Crash):
            await seen.follow(HONEST.data())
    assert station(tmp_path).key.name == LOG
    await station(tmp_path).follow(HONEST.data())
    assert station(tmp_path).key.name == SECOND


async def test_a_station_without_a_ca_follows_nobody(tmp_path: Path) -> None:
    with pytest.raises(BadAnswer, match="no operations CA"):
        await SeenCheckpoint(tmp_path, pinned()).follow(HONEST.data())


async def test_a_station_that_pins_the_successor_needs_no_ca(tmp_path: Path) -> None:
    """New stations, once the operations CA of then has gone."""
    seen = SeenCheckpoint(tmp_path, parse_log_keys(HONEST.verifier(SECOND).text()))
    await seen.follow(HONEST.data())
    assert seen.key.name == SECOND
    with pytest.raises(BadAnswer, match="an older log"):
        await seen.follow(b"")


@pytest.mark.parametrize(
    ("name", "taken"),
    [("a/successor-2", False), ("a/successor-99", False), ("a/successor-1", True), ("a/successor-100", True)],
)
def test_no_log_is_opened_under_a_successor_s_name(name: str, taken: bool) -> None:
    """Its keys would be taken for those of the log `a`."""
    assert (log_name(name)[1] == 1) == taken
    if taken:
        assert LogNameSettings(origin=name, vkey=Path("log.vkey")).origin == name
        return
    with pytest.raises(ValueError, match="must be the name that the log was opened under"):
        LogNameSettings(origin=name, vkey=Path("log.vkey"))


async def test_the_remedy_names_files_that_are_there(tmp_path: Path) -> None:
    """What it saw is of the log before; of the one that it follows it saw nothing yet."""
    seen = await saw(tmp_path, HONEST.note(4, root=bytes(32)))
    await seen.follow(HONEST.data())
    for wrong in (b"", after(replace(HONEST, ca=company("thief")), known=9, left=2).data()):
        with pytest.raises(BadAnswer) as caught:
            await seen.follow(wrong)
        assert files_in(caught.value.remedy, tmp_path) == 2
