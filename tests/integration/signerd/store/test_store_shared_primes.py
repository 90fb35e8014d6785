"""RSA certificates of the whole history are read in pages, and named once in the ledger."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from harness.store_world import (
    NOW,
    ORDER,
    STATION,
    World,
    digest,
    grant_of,
    intent,
    prepare,
    stock,
    with_terms,
)
from signerd.adapters.store import SqlStore
from signerd.adapters.store.boards import shared_primes
from signerd.core.entry import MAX_SHARED_PRIMES
from signerd.ports import Record

RSA = bytes.fromhex("300d06092a864886f70d0101010500")


async def certify(store: SqlStore, chip: str, *, rsa: bool) -> Record:
    request = intent(chip, order=BIG)
    record = await store.take_place(request, prepare)
    certificate = b"certificate " + chip.encode() + (RSA if rsa else b"")
    return await store.complete(record, certificate, grant_of(request, record), NOW)


BIG = with_terms(ORDER, quantity=2000)


@pytest.fixture
async def big(world: World) -> Any:
    async with world.opened() as opened:
        await stock(opened, BIG)
        yield opened


async def listed(store: SqlStore) -> list[bytes]:
    found: list[bytes] = []
    after, more = 0, True
    while more:
        page = await store.rsa_certificates(after_record_id=after)
        assert not page.more or page.last_record_id > after
        after, more = page.last_record_id, page.more
        found += [each.certificate_der for each in page.certificates]
    return found


async def test_all_of_the_history_is_read_in_pages(big: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_primes, "SCANNED", 3)
    assert await listed(big) == []
    made = [await certify(big, f"chip-{number}", rsa=number % 2 == 0) for number in range(6)]
    await big.take_place(intent("open", order=BIG), prepare)  # no certificate yet
    await big.revoke(
        certificate_sha256=hashlib.sha256(made[2].certificate_der).digest(), reason="keyCompromise", now=NOW
    )
    await big.record_stamp(made[4], stamp=b"stamp", signature=b"s", station=STATION, now=NOW)
    assert await listed(big) == [made[number].certificate_der for number in (0, 2, 4)]
    page = await big.rsa_certificates(after_record_id=made[1].record_id)
    assert [each.revoked for each in page.certificates] == [True, False]
    made.append(await certify(big, "chip-6", rsa=True))
    assert await listed(big) == [made[number].certificate_der for number in (0, 2, 4, 6)]


async def test_what_shares_a_prime_is_named_once(big: SqlStore) -> None:
    made = [await certify(big, f"chip-{number}", rsa=True) for number in range(3)]
    digests = [hashlib.sha256(record.certificate_der).digest() for record in made]
    assert await big.record_shared_primes([digests[2], digests[0]], NOW) == 2
    index = 4 + len(made)  # log, station, product, order, certificates
    value = json.loads((await big.published(index)).entry)
    assert len(bytes.fromhex(value.pop("id"))) == 16
    assert value == {
        "v": 3,
        "type": "shared_primes_found",
        "time": "2026-11-15T12:00:00Z",
        "count": 2,
        "certificates": [digests[2].hex(), digests[0].hex()],
    }
    page = await big.rsa_certificates()
    assert [each.certificate_sha256 for each in page.certificates if each.named] == [digests[0], digests[2]]
    assert await big.record_shared_primes(digests, NOW) == 1
    assert json.loads((await big.published(index + 1)).entry)["certificates"] == [digests[1].hex()]
    assert await big.record_shared_primes([*digests, digest("nobody's")], NOW) == 0
    after = await big.add_product("last", 'name = "last"', NOW)
    assert after == index + 2  # nothing new, no entry


async def test_many_are_named_in_entries_that_fit(big: SqlStore) -> None:
    made = [await certify(big, f"chip-{number}", rsa=True) for number in range(MAX_SHARED_PRIMES + 1)]
    digests = [hashlib.sha256(record.certificate_der).digest() for record in made]
    assert await big.record_shared_primes(digests, NOW) == len(digests)
    last = await big.add_product("last", 'name = "last"', NOW)
    await big.published(last)
    entries = [json.loads(data) for data in await big.entries(last - 2, last)]
    assert [each["count"] for each in entries] == [MAX_SHARED_PRIMES, 1]
    named = [certificate for each in entries for certificate in each["certificates"]]
    assert named == [each.hex() for each in digests]
