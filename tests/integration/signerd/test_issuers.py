"""Issuers in succession: who signs, what becomes of what was begun, and what the ledger says of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509

from birthmark.v1 import admin_pb2
from harness.issuance_world import PRODUCT, IssuanceWorld, issuance_world
from signerd.adapters.rpc.admin_issuers import IssuerAdministration
from signerd.adapters.store.values import RecordFilter
from signerd.core.issuers import IssuerState
from signerd.core.leaf import Leaf
from signerd.core.profile import Issuer
from signerd.errors import Code, Refused, Unavailable
from signerd.issuance import IssuedAnswer
from signerd.issuers import IssuerParts, Issuers

Sign = Callable[[bytes, Leaf | None], Coroutine[Any, Any, bytes]]


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[IssuanceWorld]:
    async with issuance_world(tmp_path) as made:
        yield made


def is_of(answer: IssuedAnswer, issuer: Issuer) -> bool:
    certificate = x509.load_der_x509_certificate(answer.record.certificate_der)
    named = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    ours = named == issuer.authority_key_identifier
    assert ours == (answer.chain == issuer.chain)
    if ours:
        certificate.verify_directly_issued_by(issuer.certificate)
    return ours


async def entries(world: IssuanceWorld, *kinds: str) -> list[dict[str, Any]]:
    size = world.store.written.entries + 1
    await world.store.published(size - 1)
    every = await world.store.entries(0, size)
    return [entry for entry in map(json.loads, every) if entry["type"] in kinds]


async def refused(code: Code, awaitable: Any) -> str:
    with pytest.raises(Refused) as caught:
        await awaitable
    assert caught.value.code is code
    return caught.value.detail


async def pulled(_tbs: bytes, _leaf: Leaf | None = None) -> bytes:
    raise Unavailable("the token was pulled")


async def test_the_active_one_issues_and_old_certificates_keep_their_chain(world: IssuanceWorld) -> None:
    order, old, new = await world.open_order(), world.board(), world.board()
    _, first = await world.certify(order, old)
    issuer, _ = await world.add_issuer("next")
    _, still = await world.certify(order, world.board())
    assert is_of(first, world.issuer)
    assert is_of(still, world.issuer)
    await world.activate_issuer("next")
    _, second = await world.certify(order, new)
    assert is_of(second, issuer)
    _, again = await world.certify(order, old)
    assert again.record.certificate_der == first.record.certificate_der
    assert is_of(again, world.issuer)
    kinds = [entry["type"] for entry in await entries(world, "issued", "issuer_added", "issuer_activated")]
    assert kinds == ["issued", "issuer_added", "issued", "issuer_activated", "issued"]


async def test_an_intent_of_one_that_is_gone_is_abandoned_for_the_same_place(world: IssuanceWorld) -> None:
    order, board = await world.open_order(quantity=1), world.board()
    sign, world.key_holder.sign_certificate = world.key_holder.sign_certificate, pulled  # type: ignore[method-assign, assignment]
    with pytest.raises(Unavailable):
        await world.certify(order, board)
    (intent,) = (await world.store.find_records(RecordFilter(chip_id=board.chip_id))).records
    issuer, _ = await world.add_issuer("spare")
    with pytest.raises(Unavailable):  # announced is not active: the intent stays
        await world.certify(order, board)
    assert await entries(world, "intent_abandoned") == []
    await world.activate_issuer("spare")
    _, answer = await world.certify(order, board)
    assert is_of(answer, issuer)
    assert (answer.record.place.number, answer.record.place.serial_number) == (1, intent.place.serial_number)
    assert answer.record.place.certificate_serial != intent.place.certificate_serial
    (entry,) = await entries(world, "intent_abandoned")
    assert entry["tbs_sha256"] == hashlib.sha256(intent.tbs).hexdigest()
    assert (entry["issuer"], entry["successor"], entry["number"]) == ("main", "spare", 1)
    world.key_holder.sign_certificate = sign  # type: ignore[method-assign]  # its token comes back: too late
    _, again = await world.certify(order, board)
    assert again.record.certificate_der == answer.record.certificate_der
    assert len(await entries(world, "intent_abandoned")) == 1


def once_signed(sign: Sign, act: Callable[[], Coroutine[Any, Any, None]]) -> Sign:
    """Signs, and acts before anybody is given the signature."""
    acted = False

    async def signs(tbs: bytes, leaf: Leaf | None = None) -> bytes:
        nonlocal acted
        signature = await sign(tbs, leaf)
        if not acted:
            acted = True
            await act()
        return signature

    return signs


@pytest.mark.parametrize("told", [True, False], ids=["here", "by another signerd"])
async def test_a_signature_under_way_is_not_entered(world: IssuanceWorld, *, told: bool) -> None:
    issuer, _ = await world.add_issuer("next")

    async def activate() -> None:
        await world.store.activate_issuer("next", world.now, by="ann")
        if told:
            await world.issuers.refresh()

    sign = once_signed(world.key_holder.sign_certificate, activate)
    world.key_holder.sign_certificate = sign  # type: ignore[method-assign, assignment]
    _, answer = await world.certify(await world.open_order(quantity=1), world.board())
    assert is_of(answer, issuer)
    assert answer.record.place.number == 1
    kinds = [
        entry["type"] for entry in await entries(world, "issuer_activated", "intent_abandoned", "issued")
    ]
    assert kinds == ["issuer_activated", "intent_abandoned", "issued"]


async def test_who_does_not_know_of_the_change_takes_nothing_back(world: IssuanceWorld) -> None:
    """One call for a chip begins before the change and reaches the store after another one for the same chip
    and key, which knew of it."""
    issuer, holder = await world.add_issuer("next")
    order, board = await world.open_order(quantity=1), world.board()
    await world.store.activate_issuer("next", world.now)
    knowing = Issuers(world.store, world.issuer_parts)
    await knowing.refresh()
    holder_signs, holder.sign_certificate = holder.sign_certificate, pulled  # type: ignore[method-assign, assignment]
    unknowing, world.issuers = world.issuers, knowing
    world.restart()
    with pytest.raises(Unavailable):
        await world.certify(order, board)  # an intent of the new one
    holder.sign_certificate = holder_signs  # type: ignore[method-assign]
    world.issuers = unknowing
    world.restart()
    _, answer = await world.certify(order, board)
    assert is_of(answer, issuer)
    assert await entries(world, "intent_abandoned") == []


async def test_of_two_calls_for_one_chip_neither_gets_the_other_ones_bytes(world: IssuanceWorld) -> None:
    """The first is signed by the old issuer while the second begins the place again with the new one."""
    issuer, _ = await world.add_issuer("next")
    order, board = await world.open_order(quantity=1), world.board()
    second: list[IssuedAnswer] = []

    async def act() -> None:
        await world.activate_issuer("next")
        second.append((await world.certify(order, board))[1])

    sign = once_signed(world.key_holder.sign_certificate, act)
    world.key_holder.sign_certificate = sign  # type: ignore[method-assign, assignment]
    _, answer = await world.certify(order, board)
    assert is_of(answer, issuer)
    assert answer.record.certificate_der == second[0].record.certificate_der
    assert len(await entries(world, "issued")) == 1


async def test_without_an_active_one_nothing_is_issued(world: IssuanceWorld) -> None:
    """As after a start whose settings lack the issuer that the ledger has."""
    order, board = await world.open_order(), world.board()
    world.issuer_parts.clear()
    with pytest.raises(Unavailable, match="do not have issuer main"):
        await world.certify(order, board)
    world.issuer_parts[hashlib.sha256(world.issuer.chain[0]).digest()] = IssuerParts(world.issuer, None)
    with pytest.raises(Unavailable, match="key of issuer main is not here"):
        await world.certify(order, board)


async def test_a_product_names_its_ca(world: IssuanceWorld) -> None:
    issuer, _ = await world.add_issuer("lamps-1", ca="lamps")
    toml = PRODUCT.replace('name = "sensor"', 'name = "lamp"').replace(
        "[certificate]", '[certificate]\nca = "lamps"'
    )
    named = await world.add_product(toml)
    order, board = await world.open_order(**named), world.board()
    with pytest.raises(Unavailable, match="no issuer of CA lamps is active"):
        await world.certify(order, board)
    await world.activate_issuer("lamps-1")
    assert is_of((await world.certify(order, board))[1], issuer)
    assert is_of((await world.certify(await world.open_order(), world.board()))[1], world.issuer)


async def test_changes_that_mean_nothing(world: IssuanceWorld) -> None:
    store, now = world.store, world.now
    await world.add_issuer("next")
    assert "`signerd ca list`" in await refused(Code.NOT_FOUND, store.activate_issuer("other", now))
    assert "activate another one of CA" in await refused(Code.INVALID, store.retire_issuer("main", now))
    await refused(Code.ALREADY_EXISTS, store.activate_issuer("main", now))
    assert "with another certificate" in await refused(Code.ALREADY_EXISTS, world.add_issuer("next"))
    before = len(await entries(world, "issuer_added", "issuer_activated", "issuer_retired"))
    record, _ = await store.retire_issuer("next", now)
    assert record.state is IssuerState.RETIRED
    await refused(Code.ALREADY_EXISTS, store.retire_issuer("next", now))
    assert "is retired for good" in await refused(Code.INVALID, store.activate_issuer("next", now))
    after = await entries(world, "issuer_added", "issuer_activated", "issuer_retired")
    assert len(after) == before + 1


async def test_one_that_was_followed_may_come_back(world: IssuanceWorld) -> None:
    """The new token turns out to be bad: the line goes on with the one before."""
    await world.add_issuer("next")
    await world.activate_issuer("next")
    await world.activate_issuer("main")
    assert is_of((await world.certify(await world.open_order(), world.board()))[1], world.issuer)


def desk(world: IssuanceWorld) -> IssuerAdministration:
    return IssuerAdministration(store=world.store, issuers=world.issuers, clock=lambda: world.now)


async def crl_of(world: IssuanceWorld, issuer: str) -> x509.CertificateRevocationList:
    answer = await desk(world).make_crl(None, admin_pb2.MakeCrlRequest(next_update_h=168, issuer=issuer))
    return x509.load_der_x509_crl(answer.crl_der)


async def test_each_has_its_own_crl_and_goes_on_with_it(world: IssuanceWorld) -> None:
    order = await world.open_order()
    _, old = await world.certify(order, world.board())
    issuer, _ = await world.add_issuer("next")
    await world.activate_issuer("next")
    _, new = await world.certify(order, world.board())
    for answer in (old, new):
        serial = answer.record.place.serial_number
        await world.store.revoke(serial_number=serial, reason="keyCompromise", now=world.now)
    await world.store.retire_issuer("main", world.now)
    await world.issuers.refresh()
    for name, made_by, answer in (("", world.issuer, old), ("next", issuer, new)):
        crl = await crl_of(world, name)
        assert crl.is_signature_valid(made_by.key)
        assert [line.serial_number for line in crl] == [answer.record.place.certificate_serial]
    assert set(await world.store.crl_next_updates()) == {"main", "next"}
    assert "no issuer 'other'" in await refused(Code.NOT_FOUND, crl_of(world, "other"))


async def test_a_newer_certificate_of_the_same_key_shares_the_crl(world: IssuanceWorld) -> None:
    """Relying parties look for a CRL by name and key: two lists of them would hide each other."""
    order = await world.open_order()
    _, old = await world.certify(order, world.board())
    await world.store.revoke(serial_number=old.record.place.serial_number, reason="superseded", now=world.now)
    issuer, _ = await world.add_issuer("longer")
    digest = hashlib.sha256(issuer.chain[0]).digest()
    world.issuer_parts[digest] = IssuerParts(world.issuer, world.key_holder)
    assert [line.serial_number for line in await crl_of(world, "longer")] == [
        old.record.place.certificate_serial
    ]


async def test_one_whose_key_does_not_answer_is_not_activated(world: IssuanceWorld) -> None:
    issuer, _ = await world.add_issuer("next")
    world.issuer_parts[hashlib.sha256(issuer.chain[0]).digest()] = IssuerParts(issuer, None)
    asked = desk(world).activate_issuer(None, admin_pb2.ChangeIssuerRequest(name="next"))
    assert "issuers.hsm" in await refused(Code.INVALID, asked)
    assert await entries(world, "issuer_activated") == []


async def test_many_boards_while_issuers_change_hands(world: IssuanceWorld) -> None:
    """Every board gets one certificate, of the issuer that was active at its entry."""
    order = await world.open_order(quantity=30)
    issuers = {"main": world.issuer, "next": (await world.add_issuer("next"))[0]}
    boards = [world.board() for _ in range(30)]

    async def change() -> None:
        for name in ("next", "main", "next"):
            await asyncio.sleep(0.02)
            await world.activate_issuer(name)

    async def certify(board: Any) -> IssuedAnswer:
        while True:
            try:
                return (await world.certify(order, board))[1]
            except Unavailable:  # it changed twice meanwhile: the station asks again
                await asyncio.sleep(0.01)

    changing = asyncio.create_task(change())
    answers = await asyncio.gather(*map(certify, boards))
    await changing
    by_digest = {hashlib.sha256(one.record.certificate_der).hexdigest(): one for one in answers}
    active, seen = "main", 0
    for entry in await entries(world, "issued", "issuer_activated"):
        if entry["type"] == "issuer_activated":
            active = entry["issuer"]
        else:
            seen += 1
            assert is_of(by_digest[entry["certificate_sha256"]], issuers[active])
    assert seen == 30
