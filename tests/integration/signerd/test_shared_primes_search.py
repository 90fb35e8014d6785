"""The search for shared primes: what it finds and enters, and what a death of its process means."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from harness.issuance_world import PRODUCT, issuance_world
from harness.key_holders import until
from harness.paper_board import PaperBoard
from harness.shared_primes import two_with_a_shared_prime
from harness.signing_samples import name
from signerd.adapters.shared_primes import SearchState, SharedPrimesSearch
from signerd.adapters.shared_primes_process import MAX_MEMORY
from signerd.adapters.store.boards.shared_primes import RsaCertificate, RsaCertificates
from signerd.errors import Unavailable

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
RSA_PRODUCT = PRODUCT.replace('name = "sensor"', 'name = "rsa"').replace(
    'accept = ["p256", "p384"]', 'accept = ["rsa2048", "p256"]'
)


@cache
def keys() -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    """Two that share a prime, and one that shares none."""
    return *two_with_a_shared_prime(), rsa.generate_private_key(65537, 2048)


def certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, serial: int = 1) -> bytes:
    built = (
        x509.CertificateBuilder()
        .subject_name(name("board"))
        .issuer_name(name("ca"))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    return built.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


class PaperHistory:
    """Certificates in memory, two a page; `pause` holds back what follows the first page."""

    def __init__(self, certificates: Sequence[bytes]) -> None:
        self.certificates = certificates
        self.recorded: list[bytes] = []
        self.pause: asyncio.Event | None = None
        self.available = True

    async def rsa_certificates(self, *, after_record_id: int = 0) -> RsaCertificates:
        """Records are numbered from 1."""
        if not self.available:
            raise Unavailable("the database does not answer")
        if after_record_id and self.pause is not None:
            await self.pause.wait()
        page = self.certificates[after_record_id : after_record_id + 2]
        found = (
            RsaCertificate(hashlib.sha256(der).digest(), der, named=False, revoked=False) for der in page
        )
        last = after_record_id + len(page)
        return RsaCertificates(tuple(found), last, more=last < len(self.certificates))

    async def record_shared_primes(self, certificates: Sequence[bytes], now: datetime) -> int:
        """New ones alone."""
        assert now == NOW
        new = [digest for digest in certificates if digest not in self.recorded]
        self.recorded += new
        return len(new)


def search_of(history: PaperHistory, ends: list[SearchState] | None = None) -> SharedPrimesSearch:
    ended = [] if ends is None else ends
    return SharedPrimesSearch(history, clock=lambda: NOW, on_end=ended.append)


@pytest.fixture
def pair() -> list[bytes]:
    """Three certificates, of which the first and the last share a prime."""
    first, crossed, sound = keys()
    return [certificate(first), certificate(sound), certificate(crossed)]


def digests(*certificates: bytes) -> set[bytes]:
    return {hashlib.sha256(each).digest() for each in certificates}


async def test_two_of_many_are_found_and_entered_once(pair: list[bytes]) -> None:
    board = ec.generate_private_key(ec.SECP256R1())
    # A page of the pipe and more, so that the search has to wait for its process to read.
    others = [certificate(board, serial) for serial in range(1, 400)]
    history = PaperHistory([*pair[:2], *others, pair[2]])
    ends: list[SearchState] = []
    search = search_of(history, ends)
    await search.begin()
    last = search.state.last
    assert last is not None
    assert (set(last.valid), last.revoked, last.new, last.keys) == (digests(pair[0], pair[2]), (), 2, 3)
    await search.begin()
    assert search.state.last is not None
    assert (search.state.last.new, len(search.state.last.valid)) == (0, 2)
    assert set(history.recorded) == digests(pair[0], pair[2])
    assert ([each.ended for each in ends], search.state.failure) == ([1, 2], "")


async def test_one_key_in_two_certificates_shares_no_prime_with_another(pair: list[bytes]) -> None:
    again = certificate(keys()[0], serial=2)
    search = search_of(PaperHistory([pair[0], again, pair[1]]))
    await search.begin()
    assert search.state.last is not None
    assert (search.state.last.valid, search.state.last.keys) == ((), 2)
    search = search_of(PaperHistory([pair[0], again, pair[2]]))
    await search.begin()
    assert search.state.last is not None
    assert set(search.state.last.valid) == digests(pair[0], again, pair[2])


def descriptors(process: psutil.Process) -> set[str]:
    return {path.name for path in Path(f"/proc/{process.pid}/fd").iterdir()}


@asynccontextmanager
async def under_way(history: PaperHistory) -> AsyncIterator[tuple[SharedPrimesSearch, psutil.Process]]:
    """A run whose process waits for its second page."""
    history.pause = asyncio.Event()
    before = set(psutil.Process().children())
    search = search_of(history)
    search.begin()

    def process() -> psutil.Process | None:
        started = set(psutil.Process().children()) - before
        return next(iter(started), None)

    await until(lambda: (found := process()) is not None and found.nice() == 19)
    found = process()
    assert found is not None
    try:
        yield search, found
    finally:
        await search.stop()


async def test_its_process_holds_nothing_of_signerds_and_steps_back(
    pair: list[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HSM_PIN", "1234")
    with (tmp_path / "secret").open("wb") as open_file:
        assert open_file.fileno() > 2
        async with under_way(PaperHistory(pair)) as (search, process):
            await until(lambda: process.rlimit(resource.RLIMIT_AS) == (MAX_MEMORY, MAX_MEMORY))
            await until(lambda: Path(f"/proc/{process.pid}/oom_score_adj").read_text("ascii") == "1000\n")
            assert "HSM_PIN" not in process.environ()
            assert process.open_files() == []
            assert descriptors(process) == {"0", "1", "2"}
            assert process.rlimit(resource.RLIMIT_CORE) == (0, 0)
            # Asked meanwhile, the run under way is joined.
            assert search.state.running
            assert search.begin() is search.begin()
        assert not process.is_running()


async def test_a_process_that_is_killed_is_a_failed_run_and_the_next_one_finds_all(pair: list[bytes]) -> None:
    history = PaperHistory(pair)
    async with under_way(history) as (search, process):
        process.kill()
        assert history.pause is not None
        history.pause.set()
        await search.begin()
        assert (search.state.ended, search.state.last) == (1, None)
        assert "ended with -9" in search.state.failure
        assert history.recorded == []
        await search.begin()
        assert (search.state.ended, search.state.failure) == (2, "")
        assert len(history.recorded) == 2


async def test_a_stop_of_the_group_does_not_reach_it(pair: list[bytes]) -> None:
    history = PaperHistory(pair)
    async with under_way(history) as (search, process):
        await until(lambda: process.rlimit(resource.RLIMIT_AS) == (MAX_MEMORY, MAX_MEMORY))
        # Both are ignored from here on (proc(5): SigIgn is a mask, signal 1 its lowest bit).
        wanted = (1 << (2 - 1)) | (1 << (15 - 1))

        def ignored() -> int:
            status = Path(f"/proc/{process.pid}/status").read_text("ascii").splitlines()
            return next(int(line.split()[1], 16) for line in status if line.startswith("SigIgn"))

        await until(lambda: ignored() & wanted == wanted)
        process.terminate()
        assert history.pause is not None
        history.pause.set()
        await search.begin()
        assert search.state.failure == ""


async def test_bytes_that_are_no_certificate_end_the_run_and_not_signerd(pair: list[bytes]) -> None:
    history = PaperHistory([*pair, b"\x30\x00"])
    search = search_of(history)
    await search.begin()
    assert "ValueError" in search.state.failure
    assert history.recorded == []


# Denied as by a service manager.
DENIES_NICE = """\
import os
def denied(_by):
    raise PermissionError(1, "Operation not permitted")
os.nice = denied
"""


async def test_a_search_that_may_not_step_back_is_made_all_the_same(
    pair: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DENIES_NICE, encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    history = PaperHistory(pair)
    await search_of(history).begin()
    assert len(history.recorded) == 2
    assert "nice: Operation not permitted" in capsys.readouterr().out


async def test_a_database_that_does_not_answer_is_for_the_next_run(pair: list[bytes]) -> None:
    history = PaperHistory(pair)
    history.available = False
    search = search_of(history)
    await search.begin()
    assert search.state.failure == "the database does not answer"
    history.available = True
    await search.begin()
    assert search.state.failure == ""
    assert len(history.recorded) == 2


async def test_a_fault_that_nobody_expected_ends_one_run_and_not_the_next(
    pair: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    history, ends = PaperHistory(pair), list[SearchState]()
    search = search_of(history, ends)
    record = history.record_shared_primes
    monkeypatch.setattr(history, "record_shared_primes", None)  # calling it is a TypeError
    search.repeat(timedelta(0))
    await until(lambda: bool(ends))
    monkeypatch.setattr(history, "record_shared_primes", record)
    await until(lambda: len(history.recorded) == 2)
    await search.stop()
    assert "TypeError" in ends[0].failure


@pytest.mark.parametrize("count", [0, 1])
async def test_no_process_where_nothing_is_to_be_compared(
    pair: list[bytes], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_at_all(*_arguments: Any, **_named: Any) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", not_at_all)
    search = search_of(PaperHistory(pair[:count]))
    await search.begin()
    assert search.state.last is not None
    assert search.state.last.keys == count
    search = search_of(PaperHistory(pair))
    await search.begin()
    assert "Cannot allocate memory" in search.state.failure


async def test_it_repeats_until_stopped(pair: list[bytes]) -> None:
    ends: list[SearchState] = []
    search = search_of(PaperHistory(pair), ends)
    search.repeat(timedelta(0))
    await until(lambda: len(ends) >= 3)
    await search.stop()
    assert not search.state.running
    assert ends[1].last is not None
    assert ends[1].last.new == 0


async def test_boards_of_a_factory_whose_random_generator_is_broken(tmp_path: Path) -> None:
    async with issuance_world(tmp_path) as world:
        await world.store.add_product("rsa", RSA_PRODUCT, world.now)
        sha256 = hashlib.sha256(RSA_PRODUCT.encode()).digest()
        order = await world.open_order(product="rsa", product_sha256=sha256)
        issued: list[bytes] = []
        for key in (*keys(), ec.generate_private_key(ec.SECP256R1())):
            board = world.board()
            board = PaperBoard(board.chip_id, board.chip_key, key=key)  # type: ignore[arg-type]
            _, answer = await world.certify(order, board)
            issued.append(hashlib.sha256(answer.record.certificate_der).digest())
        search = SharedPrimesSearch(world.store, clock=lambda: world.now, on_end=lambda _: None)

        async def found() -> tuple[set[bytes], set[bytes], int]:
            await search.begin()
            last = search.state.last
            assert last is not None
            assert search.state.failure == ""
            return set(last.valid), set(last.revoked), last.new

        assert await found() == ({issued[0], issued[1]}, set(), 2)
        await world.store.revoke(certificate_sha256=issued[0], reason="keyCompromise", now=world.now)
        assert await found() == ({issued[1]}, {issued[0]}, 0)
        last = await world.store.revoke(certificate_sha256=issued[1], reason="keyCompromise", now=world.now)
        assert await found() == (set(), {issued[0], issued[1]}, 0)
        await world.store.published(last)
        entries = [json.loads(entry) for entry in await world.store.entries(0, last + 1)]
        (entry,) = [entry for entry in entries if entry["type"] == "shared_primes_found"]
        assert (entry["count"], set(entry["certificates"])) == (2, {each.hex() for each in issued[:2]})
