"""The connection to signerd over real mTLS: questions arrive, and no answer is taken beyond its bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from agent.adapters.signer.client import GrpcSigner
from agent.core.result import Outcome
from agent.errors import BadAnswer, BoardError, ClocksApart, Refused, SignerUnavailable, Verdict
from agent.ports import BoardRequest, BoardStamp
from birthmark.proof.receipt import MAX_RECEIPT_BYTES
from birthmark.v1 import signing_pb2 as pb
from boards import keys
from harness.agent_world import AgentWorld
from harness.paper_company import PaperCompany
from harness.paper_signer import OperationsTree, PaperSigner

REQUEST = BoardRequest(keys.make_csr(keys.make_key("p256"), "CHIP-1"), "hmac-sha256", b"claims", bytes(32))


@pytest.fixture(name="signerd")
async def start_signerd() -> AsyncIterator[PaperSigner]:
    async with PaperSigner(PaperCompany()) as signerd:
        yield signerd


@pytest.fixture(name="client")
async def open_client(signerd: PaperSigner) -> AsyncIterator[GrpcSigner]:
    async with GrpcSigner(signerd.address, **signerd.pems(), deadline_s=10, version="1.0") as client:
        await client.ready()
        yield client


async def test_a_board_passes_over_the_line(signerd: PaperSigner, client: GrpcSigner) -> None:
    world = AgentWorld(company=signerd.company)
    world.station = type(world.station)(
        signer=client,
        journal=world.journal,
        progress=world.progress,
        clock=world.clock,
        trust=world.station.trust,
        recipe=world.station.recipe,
        bounds=world.station.bounds,
    )
    board = world.board()
    assert (await world.provision(board)).outcome is Outcome.PASS
    assert (await world.provision(board)).outcome is Outcome.PASS  # `stamped` came over
    assert signerd.agent_versions == ["1.0"] * 4  # session and certificate of each


@pytest.mark.parametrize("hours", [2, -2, 48])
async def test_clocks_that_are_apart_stop_the_line_before_a_session_and_before_a_certificate(
    signerd: PaperSigner, hours: int
) -> None:
    """A PC whose clock is wrong: for it, signerd's is as far off on the other side."""
    wrong = timedelta(0)
    signerd.tells_time = True

    def now() -> datetime:
        return datetime.now(UTC) + wrong

    async with GrpcSigner(signerd.address, **signerd.pems(), deadline_s=10, version="1.0", now=now) as client:
        session = await client.open_session("WO-1", "CHIP-1")
        assert client.apart is not None
        assert abs(client.apart) < timedelta(seconds=1)  # signerd says milliseconds
        wrong = timedelta(hours=hours)
        with pytest.raises(ClocksApart, match="behind" if hours > 0 else "ahead of"):
            await client.open_session("WO-1", "CHIP-1")
        with pytest.raises(ClocksApart):
            await client.sign_csr(session.session, REQUEST)
        signerd.company.before["open_session"] = [Refused("order_full")]
        with pytest.raises(Refused):
            await client.open_session("WO-1", "CHIP-1")
        assert client.apart is not None
        assert abs(client.apart + wrong) < timedelta(seconds=5)
        wrong = timedelta(0)
        await client.open_session("WO-1", "CHIP-1")


async def test_a_signerd_of_before_says_no_time(client: GrpcSigner) -> None:
    await client.open_session("WO-1", "CHIP-1")
    assert client.apart is None


async def test_refusals_come_with_verdict_and_remedy(signerd: PaperSigner, client: GrpcSigner) -> None:
    signerd.company.before["open_session"] = [Refused("order_full")]
    with pytest.raises(Refused) as caught:
        await client.open_session("WO-1", "CHIP-1")
    assert (caught.value.code, caught.value.verdict) == ("order_full", Verdict.STOP)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("status", "message", "code", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, "unavailable", "unavailable", SignerUnavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "rate_limited", "rate_limited", SignerUnavailable),
        (grpc.StatusCode.UNAVAILABLE, "from a proxy", "", SignerUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", "", SignerUnavailable),
        (grpc.StatusCode.INTERNAL, "internal", "internal", Refused),
        (grpc.StatusCode.UNIMPLEMENTED, "what a wrong server says", "", Refused),
        (grpc.StatusCode.PERMISSION_DENIED, "granted", "granted", Refused),
    ],
)
async def test_statuses(
    signerd: PaperSigner,
    client: GrpcSigner,
    status: grpc.StatusCode,
    message: str,
    code: str,
    expected: type[Exception],
) -> None:
    signerd.statuses.append((status, message, code))
    with pytest.raises(expected):
        await client.open_session("WO-1", "CHIP-1")


SESSION: dict[str, Any] = {"session": b"s", "challenge": bytes(32), "key_types": [pb.KEY_TYPE_P256]}


@pytest.mark.parametrize(
    "change",
    [
        {"session": b""},
        {"session": bytes(513)},
        {"challenge": bytes(31)},
        {"key_types": []},
        {"key_types": [pb.KEY_TYPE_UNSPECIFIED]},
        {"key_types": [pb.KEY_TYPE_P256] * 17},
        {"required_locks": ["l"] * 17},
        {"required_locks": ["l" * 65]},
        {"required_locks": ["\x1b[2J"]},
        {"evidence_methods": ["m" * 65]},
        {"minimum_firmware": {"c" * 65: "1"}},
        {"bundle_sha256": bytes(31)},
        {"bundle_sha256": bytes(33)},
        {"session": bytes(300_000)},
    ],
)
async def test_sessions_out_of_bounds(
    signerd: PaperSigner, client: GrpcSigner, change: dict[str, Any]
) -> None:
    signerd.answers.append(pb.OpenSessionResponse(**SESSION))
    assert (await client.open_session("WO-1", "CHIP-1")).key_types == ("p256",)
    signerd.answers.append(pb.OpenSessionResponse(**{**SESSION, **change}))
    with pytest.raises(BadAnswer):
        await client.open_session("WO-1", "CHIP-1")


@pytest.mark.parametrize("bundle", [None, bytes(range(32))], ids=["none", "one"])
async def test_the_bundle_that_the_order_names(
    signerd: PaperSigner, client: GrpcSigner, bundle: bytes | None
) -> None:
    signerd.answers.append(pb.OpenSessionResponse(**SESSION, bundle_sha256=bundle or b""))
    assert (await client.open_session("WO-1", "CHIP-1")).bundle_sha256 == bundle


ISSUED: dict[str, Any] = {
    "certificate_der": b"c",
    "chain_der": [b"i"],
    "serial_number": "S",
    "settings": b"s",
    "receipt": b"r",
    "ledger_entry": b"e",
}


@pytest.mark.parametrize(
    "change",
    [
        {"certificate_der": b""},
        {"certificate_der": bytes(8_193)},
        {"chain_der": []},
        {"chain_der": [b"i"] * 6},
        {"chain_der": [bytes(8_193)]},
        {"serial_number": "S" * 65},
        {"settings": bytes(8_193)},
        {"receipt": b""},
        {"receipt": bytes(MAX_RECEIPT_BYTES + 1)},
        {"ledger_entry": bytes(65_536)},
        {"certificate_der": bytes(300_000)},
    ],
)
async def test_certificates_out_of_bounds(
    signerd: PaperSigner, client: GrpcSigner, change: dict[str, Any]
) -> None:
    session = await client.open_session("WO-1", "CHIP-1")
    signerd.answers.append(pb.SignCsrResponse(**ISSUED))
    assert (await client.sign_csr(session.session, REQUEST)).serial_number == "S"
    signerd.answers.append(pb.SignCsrResponse(**{**ISSUED, **change}))
    with pytest.raises(BadAnswer):
        await client.sign_csr(session.session, REQUEST)


@pytest.mark.parametrize(
    "request_",
    [
        BoardRequest(bytes(8_193), "none", b"", b""),
        BoardRequest(b"", "none", bytes(4_097), b""),
        BoardRequest(b"", "none", b"", bytes(16_385)),
    ],
)
async def test_too_large_requests_are_not_sent(
    signerd: PaperSigner, client: GrpcSigner, request_: BoardRequest
) -> None:
    with pytest.raises(BoardError, match="too_large"):
        await client.sign_csr(b"session", request_)
    assert signerd.company.calls == []


@pytest.mark.parametrize("stamp", [BoardStamp(bytes(4_097), b""), BoardStamp(b"", bytes(513))])
async def test_too_large_stamps_are_not_sent(
    signerd: PaperSigner, client: GrpcSigner, stamp: BoardStamp
) -> None:
    with pytest.raises(BoardError, match="too_large"):
        await client.record_stamp(b"session", stamp)
    assert signerd.company.calls == []


async def test_signerd_of_another_operations_ca(signerd: PaperSigner) -> None:
    pems = {**signerd.pems(), "operations_ca": OperationsTree().pem}
    async with GrpcSigner(signerd.address, **pems, deadline_s=5, version="1.0") as client:
        with pytest.raises(SignerUnavailable):
            await client.open_session("WO-1", "CHIP-1")
    assert signerd.company.calls == []


async def test_station_of_another_operations_ca(signerd: PaperSigner) -> None:
    other = PaperSigner(PaperCompany()).pems()
    pems = {**other, "operations_ca": signerd.operations.pem}
    async with GrpcSigner(signerd.address, **pems, deadline_s=5, version="1.0") as client:
        with pytest.raises(SignerUnavailable):
            await client.open_session("WO-1", "CHIP-1")
    assert signerd.company.calls == []


async def test_nobody_there(signerd: PaperSigner, client: GrpcSigner) -> None:
    await signerd.__aexit__(None, None, None)
    with pytest.raises(SignerUnavailable):
        await client.open_session("WO-1", "CHIP-1")
