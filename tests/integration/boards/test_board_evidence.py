"""Evidence of each kind out of a board on a pty, through the agent's driver, as signerd's methods see it."""

from __future__ import annotations

import hmac
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from agent.adapters.drivers.smp import SmpDriver
from agent.errors import BoardError
from agent.ports import BoardRequest
from boards.attesters.hmac_sha256 import HmacAttester
from boards.attesters.port import Attester, Vendor
from boards.faults import Fault, Faults, Kind
from boards.pty_line import PtyBoard
from boards.simulated_board import BoardModel, BoardProtocolError, SimulatedBoard
from boards.vendors import METHODS, chip_id_of, make_vendors
from harness.hello import hello
from harness.installation import product_toml
from signerd.core.csr import check_csr
from signerd.core.evidence import METHODS as VERIFIERS
from signerd.core.evidence.method import (
    EvidenceError,
    EvidenceSubmission,
    IdentityKey,
    Trust,
    VerifiedEvidence,
)
from signerd.core.evidence.transcript import verify_evidence
from signerd.core.names import KeyType, Level, MacQuestion
from signerd.core.product import parse_product

SECRET = bytes(range(32))
ATTESTED = [method for method in METHODS if method != "none"]
Plug = Callable[..., PtyBoard]


@pytest.fixture
async def plug() -> AsyncIterator[Plug]:
    """Plugs in a board: `plug(chip_id, *attesters, faults=(), **fields of BoardModel)`."""
    async with AsyncExitStack() as stack:

        def make(
            chip_id: str, *attesters: Attester, faults: tuple[Fault, ...] = (), **fields: object
        ) -> PtyBoard:
            model = BoardModel(chip_id, attesters=attesters, key_types=("p256",), **fields)  # type: ignore[arg-type]
            pty = PtyBoard(SimulatedBoard(model, faults=Faults(faults)))
            pty.start()
            stack.push_async_callback(pty.stop)
            return pty

        yield make


@dataclass(frozen=True, slots=True)
class Maker:
    """A vendor, one of its chips, and signerd's half of a session with it."""

    method: str
    vendor: Vendor
    chip_id: str
    challenge: bytes

    @classmethod
    def of(cls, method: str) -> Maker:
        chip_id = chip_id_of(method, "CHIP-000001")
        (vendor,) = make_vendors([method], {chip_id: SECRET}).values()
        return cls(method, vendor, chip_id, os.urandom(32))

    async def request(self, pty: PtyBoard) -> BoardRequest:
        """Of a new key on this board."""
        async with SmpDriver(pty.port, {}) as driver:
            assert (await hello(driver)).methods == (self.method,)
            await driver.keygen("p256")
            return await driver.request(self.challenge, (self.method,))

    async def judged(self, request: BoardRequest) -> VerifiedEvidence:
        """Step 4 of issuance."""
        product = product_toml(methods=[self.method], sections=[self.vendor.product_section()])
        return await verify_evidence(
            EvidenceSubmission(request.method, request.claims, request.evidence),
            methods=VERIFIERS,
            challenge=self.challenge,
            chip_id=self.chip_id,
            csr=check_csr(request.csr_der, accepted=(KeyType.P256,)),
            trust=Trust(
                personalized=self.method == "hmac-sha256",
                locked=True,
                listed=False,
                identity=self._identity(),
                rules=parse_product(product).evidence,
            ),
            now=datetime.now(UTC),
            check_mac=_check_mac,
        )

    def _identity(self) -> IdentityKey | None:
        line = self.vendor.attester(self.chip_id).identity()
        if line is None:
            return None
        key = load_pem_public_key(line["public_key"].encode())
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return IdentityKey(bytes.fromhex(line["key_id"]), spki)


async def _check_mac(question: MacQuestion) -> bool:
    return hmac.compare_digest(hmac.digest(SECRET, question.message, question.hash), question.mac)


@pytest.mark.parametrize("method", ATTESTED)
async def test_a_genuine_board_reaches_level_key(plug: Plug, method: str) -> None:
    maker = Maker.of(method)
    request = await maker.request(plug(maker.chip_id, maker.vendor.attester(maker.chip_id)))
    assert (await maker.judged(request)).level is Level.KEY


@pytest.mark.parametrize("method", ["nrf91", "psa-token"])
async def test_a_board_whose_library_writes_null_parameters(plug: Plug, method: str) -> None:
    maker = Maker.of(method)
    pty = plug(maker.chip_id, maker.vendor.attester(maker.chip_id), null_parameters=True)
    assert (await maker.judged(await maker.request(pty))).level is Level.KEY


@pytest.mark.parametrize("method", ["psa-token", "tpm2"])
async def test_evidence_inside_the_csr(plug: Plug, method: str) -> None:
    maker = Maker.of(method)
    pty = plug(maker.chip_id, maker.vendor.attester(maker.chip_id), evidence_in_csr=True)
    request = await maker.request(pty)
    assert request.evidence == b""
    assert (await maker.judged(request)).level is Level.KEY


@pytest.mark.parametrize("method", ATTESTED)
async def test_evidence_over_another_challenge(plug: Plug, method: str) -> None:
    maker = Maker.of(method)
    stale = Fault(Kind.STALE_EVIDENCE, 1, "request")
    pty = plug(maker.chip_id, maker.vendor.attester(maker.chip_id), faults=(stale,))
    with pytest.raises(EvidenceError):
        await maker.judged(await maker.request(pty))
    assert (await maker.judged(await maker.request(pty))).level is Level.KEY


WRONG: list[tuple[str, dict[str, object], Level | None]] = [
    ("hmac-sha256", {"secret": "guessed"}, None),
    ("hmac-sha256", {"secret": "empty"}, None),
    ("hmac-sha256", {"keep": 31}, None),
    ("x509", {"root": "another"}, None),
    ("x509", {"flags": [3]}, None),  # a layer in debug mode
    ("x509", {"digest": bytes(32)}, Level.CHIP),  # replaced firmware
    ("psa-token", {"lifecycle": "unknown"}, None),
    ("psa-token", {"nonce": "truncated"}, None),
    ("psa-token", {"firmware": "replaced"}, Level.CHIP),
    ("nrf91", {"swapped": True}, None),
    ("nrf91", {"nonce": "00" * 16}, None),
    ("nrf91", {"firmware": "00000000-0000-4000-8000-000000000000"}, Level.CHIP),
    ("tpm2", {"cleared": ["sensitiveDataOrigin"]}, None),  # a key that was imported into the TPM
    ("tpm2", {"certificate": "other root"}, None),
]


@pytest.mark.parametrize(("method", "wrong", "level"), WRONG)
async def test_what_is_wrong_with_a_chip_costs_its_level(
    plug: Plug, method: str, wrong: dict[str, object], level: Level | None
) -> None:
    maker = Maker.of(method)
    request = await maker.request(plug(maker.chip_id, maker.vendor.attester(maker.chip_id, **wrong)))
    if level is None:
        with pytest.raises(EvidenceError):
            await maker.judged(request)
    else:
        assert (await maker.judged(request)).level is level


class _Filler:
    """Evidence as large as evidence may be."""

    method = "x509"

    def attest(self, transcript: bytes, csr: bytes) -> bytes:
        return (transcript + csr).ljust(16_384, b"\xa5")

    def identity(self) -> None:
        return None


@pytest.mark.parametrize("buffer", [256, 4096])
async def test_the_largest_evidence_comes_over_the_line(plug: Plug, buffer: int) -> None:
    pty = plug("CHIP-000001", _Filler(), buffer=buffer)
    async with SmpDriver(pty.port, {}) as driver:
        await driver.identify()
        await driver.keygen("p256")
        request = await driver.request(bytes(32), ("x509",))
    assert len(request.evidence) == 16_384
    assert request.evidence.rstrip(b"\xa5").endswith(request.csr_der)


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ((), "x509"),
        (("hmac-sha256", "x509"), "x509"),  # the board's preference among what is accepted
        (("tpm2", "hmac-sha256"), "hmac-sha256"),
        (METHODS, "x509"),
    ],
)
async def test_the_board_uses_the_first_of_its_methods_that_is_accepted(
    plug: Plug, accepted: tuple[str, ...], chosen: str
) -> None:
    pty = plug("CHIP-000001", _Filler(), HmacAttester(SECRET), buffer=256)
    async with SmpDriver(pty.port, {}) as driver:
        assert (await hello(driver)).methods == ("x509", "hmac-sha256")
        await driver.keygen("p256")
        assert (await driver.request(bytes(32), accepted)).method == chosen


async def test_a_board_without_an_accepted_method_says_so(plug: Plug) -> None:
    pty = plug("CHIP-000001", _Filler(), HmacAttester(SECRET))
    async with SmpDriver(pty.port, {}) as driver:
        await driver.identify()
        await driver.keygen("p256")
        with pytest.raises(BoardError) as caught:
            await driver.request(bytes(32), ("tpm2", "none"))
    assert (caught.value.code, caught.value.retryable) == ("unsupported", False)


@pytest.mark.parametrize("methods", ["x509", [1], None])
async def test_methods_that_are_no_list_of_names_are_a_bad_request(plug: Plug, methods: object) -> None:
    board = plug("CHIP-000001", _Filler()).board
    board.handle(write=True, command="keygen", body={"type": "p256"})
    right = {"challenge": bytes(32), "methods": ["x509"]}
    assert "len" in board.handle(write=True, command="request", body=right)
    with pytest.raises(BoardProtocolError, match="rc 10"):
        board.handle(write=True, command="request", body=right | {"methods": methods})


async def test_a_request_that_does_not_fit_the_board_is_not_sent(plug: Plug) -> None:
    pty = plug("CHIP-000001", _Filler(), buffer=256)
    async with SmpDriver(pty.port, {}) as driver:
        await driver.identify()
        await driver.keygen("p256")
        before = pty.exchanges
        with pytest.raises(BoardError) as caught:
            await driver.request(bytes(32), ("x" * 32,) * 7)
    assert (caught.value.code, pty.exchanges) == ("too_large", before)
