"""The newest checkpoint that a station saw: kept over restarts, sent with sessions, only ever newer."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters import durable_files
from agent.adapters.signer.client import GrpcSigner
from agent.adapters.signer.seen_checkpoint import MAX_SENT_BYTES, SeenCheckpoint
from agent.core.log_keys import LogKey, parse_log_keys
from agent.core.result import Outcome
from agent.errors import BadAnswer, JournalError
from harness.agent_world import AgentWorld
from harness.paper_company import PaperCompany, PaperLog
from harness.paper_signer import PaperSigner


@pytest.fixture
async def signerd() -> AsyncIterator[PaperSigner]:
    async with PaperSigner(PaperCompany()) as signerd:
        yield signerd


@pytest.fixture
def log() -> PaperLog:
    return PaperLog()


def key_of(log: PaperLog) -> LogKey:
    return parse_log_keys(log.vkey)


def note_of(proof: bytes) -> bytes:
    return proof.partition(b"\n\n")[2]


async def test_each_session_carries_what_the_receipts_before_it_showed(
    signerd: PaperSigner, tmp_path: Path
) -> None:
    """Over a restart of the station too."""
    world = AgentWorld(company=signerd.company)
    trust = world.station.trust
    for number in range(2):
        seen = SeenCheckpoint(tmp_path, trust.log_key)
        client = GrpcSigner(signerd.address, **signerd.pems(), deadline_s=10, version="1.0", seen=seen)
        async with client:
            world.station = type(world.station)(
                signer=client,
                journal=world.journal,
                progress=world.progress,
                clock=world.clock,
                trust=trust,
                recipe=world.station.recipe,
                bounds=world.station.bounds,
            )
            result = await world.provision(world.board(f"CHIP-{number}"))
            assert result.outcome is Outcome.PASS
        assert seen.path.read_bytes() == seen.to_send
        if os.name == "posix":
            assert seen.path.stat().st_mode & 0o777 == 0o600
    first, second = signerd.seen_checkpoints
    assert first == b""
    assert second.splitlines()[1] == b"5"  # three of the log's beginning, `issued` and `stamped`


async def test_an_older_receipt_changes_nothing(log: PaperLog, tmp_path: Path) -> None:
    proofs = [log.append(type="x").proof for _ in range(3)]
    seen = SeenCheckpoint(tmp_path, key_of(log))
    for proof in (proofs[1], proofs[0], proofs[1]):
        await seen.saw(proof)
        assert seen.path.read_bytes() == note_of(proofs[1]) == seen.to_send
    await seen.saw(proofs[2])
    assert SeenCheckpoint(tmp_path, key_of(log)).to_send == note_of(proofs[2])


async def test_two_trees_of_one_size_stop_the_line(log: PaperLog, tmp_path: Path) -> None:
    seen = SeenCheckpoint(tmp_path, key_of(log))
    await seen.saw(log.append(type="x").proof)
    kept = seen.to_send
    log.entries.clear()
    with pytest.raises(BadAnswer, match="two trees of 1 entries"):
        await seen.saw(log.append(type="y").proof)
    assert SeenCheckpoint(tmp_path, key_of(log)).to_send == kept


@pytest.mark.parametrize(
    "proof", [b"", b"\n\n", b"x\n\n\xff\xff", b"c2sp.org/tlog-proof@v1\nindex 0\n\nno note\n"]
)
async def test_what_is_not_signed_is_not_kept(log: PaperLog, tmp_path: Path, proof: bytes) -> None:
    seen = SeenCheckpoint(tmp_path, key_of(log))
    other = PaperLog(log.vkey.partition("+")[0])  # the same name, and another key
    for wrong in (proof, other.append(type="x").proof, log.append(type="x").proof[:-5]):
        await seen.saw(wrong)
    assert seen.to_send == b""
    assert not seen.path.exists()


async def test_each_log_has_its_own(log: PaperLog, tmp_path: Path) -> None:
    other = PaperLog("another.example/line")
    both = [SeenCheckpoint(tmp_path, key_of(each)) for each in (log, other)]
    for seen, each in zip(both, (log, other), strict=True):
        await seen.saw(each.append(type="x").proof)
    assert len({seen.path for seen in both}) == 2
    assert [SeenCheckpoint(tmp_path, key_of(each)).to_send for each in (log, other)] == [
        seen.to_send for seen in both
    ]


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff" * 40, b"\n" * 100_000])
async def test_a_file_that_holds_none_is_replaced(log: PaperLog, tmp_path: Path, content: bytes) -> None:
    path = SeenCheckpoint(tmp_path, key_of(log)).path
    path.write_bytes(content)
    seen = SeenCheckpoint(tmp_path, key_of(log))
    assert seen.to_send == b""
    await seen.saw(log.append(type="x").proof)
    assert path.read_bytes() == seen.to_send != b""


async def test_a_note_larger_than_signerd_takes_is_kept_and_not_sent(log: PaperLog, tmp_path: Path) -> None:
    """A log with more cosignatures than anybody has today must not keep the station from working."""
    seen = SeenCheckpoint(tmp_path, key_of(log))
    line = "— witness.example/{} {}\n"
    more = "".join(line.format("w" * 200, "A" * 100) for _ in range(30)).encode()
    await seen.saw(log.append(type="x").proof + more)
    assert len(seen.path.read_bytes()) > MAX_SENT_BYTES
    assert seen.to_send == b""


async def test_a_power_cut_leaves_the_old_one_or_the_new_one(
    log: PaperLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCut(BaseException):
        pass

    def cut(*_arguments: object) -> None:
        raise PowerCut

    seen = SeenCheckpoint(tmp_path, key_of(log))
    first, second = (log.append(type="x").proof for _ in range(2))
    await seen.saw(first)
    for place, kept in (("write_new", first), ("sync_directory", second)):
        with monkeypatch.context() as patch:
            patch.setattr(durable_files, place, cut)
            with pytest.raises(PowerCut):
                await SeenCheckpoint(tmp_path, key_of(log)).saw(second)
        assert SeenCheckpoint(tmp_path, key_of(log)).to_send == note_of(kept)


async def test_a_disk_that_takes_nothing_is_the_journal_s_trouble(
    log: PaperLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    seen = SeenCheckpoint(tmp_path, key_of(log))
    monkeypatch.setattr(durable_files, "write_new", full)
    with pytest.raises(JournalError, match="No space left"):
        await seen.saw(log.append(type="x").proof)
    assert seen.to_send == b""


async def test_a_file_that_cannot_be_read_is_said(log: PaperLog, tmp_path: Path) -> None:
    SeenCheckpoint(tmp_path, key_of(log)).path.mkdir()
    with pytest.raises(JournalError, match="cannot read"):
        SeenCheckpoint(tmp_path, key_of(log))


def test_a_successor_of_the_log_s_key_reads_what_both_signed(log: PaperLog, tmp_path: Path) -> None:
    """Its file is named after the log, and not after the key."""
    other = PaperLog(log.vkey.partition("+")[0])
    both = parse_log_keys(f"{log.vkey}\n{other.vkey}\n")
    paths = {SeenCheckpoint(tmp_path, key).path for key in (key_of(log), key_of(other), both)}
    name = hashlib.sha256(key_of(log).name.encode()).hexdigest()[:16]
    assert paths == {tmp_path / f"seen-checkpoint-{name}"}
