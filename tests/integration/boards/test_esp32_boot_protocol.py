"""The station's SMP driver against the firmware of a simulated chip, before and after it locked itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.adapters.drivers.smp import SmpDriver
from agent.errors import BoardError
from boards import formats, keys
from boards.esp32.product import ProductImages
from boards.esp32.security import Security
from boards.faults import Fault, Faults, Kind
from boards.paper_ca import SETTINGS, credential_for
from harness.esp32_boots import MAC, BootBench
from harness.hello import hello

MakeImages = Callable[[str], ProductImages]

CHALLENGE = bytes(range(32))
FAST: dict[str, object] = {"timeout_s": 0.5}
SECRET = bytes(range(32))
LOCKED = {"secure_boot": True, "flash_encryption": True, "debug_closed": True}


def _credential(csr_der: bytes) -> bytes:
    public = x509.load_der_x509_csr(csr_der).public_key()
    return credential_for(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


async def _manufacture(bench: BootBench) -> bytes:
    """All that the manufacturing firmware is asked for; returns the commitment to the board's code."""
    await bench.until_runs("manufacturing")
    async with SmpDriver(str(bench.port), FAST) as driver:
        assert (await hello(driver)).chip_id == MAC
        await driver.keygen("p256")
        request = await driver.request(CHALLENGE)
        content = _credential(request.csr_der)
        assert await driver.install(content) == hashlib.sha256(content).digest()
        assert await driver.configure(SETTINGS) == hashlib.sha256(SETTINGS).digest()
        commitment = (await driver.pop()).commitment
        await driver.seal()
    return commitment


@pytest.mark.parametrize("family", ["esp32", "esp32s3", "esp32c3"])
async def test_a_board_goes_all_the_way(family: str, tmp_path: Path, small_images: MakeImages) -> None:
    images = small_images(family)
    async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
        commitment = await _manufacture(bench)
        bench.write(images.final_stage)
        bench.reset()
        await bench.until_runs("application")
        async with SmpDriver(str(bench.port), FAST) as driver:
            identity = await hello(driver)
            assert identity.sealed
            assert identity.security_state == LOCKED
            assert set(identity.firmware) == {"app", "boot"}
            pop = await driver.pop()
            said = await driver.stamp(CHALLENGE)

        assert pop.commitment == commitment
        key = bench.board.key
        assert key is not None
        stamp = cbor2.loads(said.stamp)
        assert stamp[2] == MAC
        assert stamp[5] == hashlib.sha256(SETTINGS).digest()
        assert stamp[7] == LOCKED
        assert stamp[8] == commitment


async def test_the_application_takes_no_other_content(tmp_path: Path, small_images: MakeImages) -> None:
    images = small_images("esp32s3")
    async with BootBench("esp32s3", tmp_path, images.manufacturing_stage) as bench:
        await _manufacture(bench)
        bench.write(images.final_stage)
        bench.reset()
        await bench.until_runs("application")
        async with SmpDriver(str(bench.port), FAST) as driver:
            await hello(driver)
            assert await driver.configure(SETTINGS) == hashlib.sha256(SETTINGS).digest()
            with pytest.raises(BoardError) as caught:
                await driver.configure(cbor2.dumps({"serial": "BM-000002"}, canonical=True))
        assert caught.value.code == "sealed"


@pytest.mark.parametrize("family", ["esp32s3", "esp32c3"])
async def test_evidence_by_the_hmac_peripheral(family: str, tmp_path: Path, small_images: MakeImages) -> None:
    images = small_images(family)
    async with BootBench(family, tmp_path, images.manufacturing_stage) as bench:
        Security(bench.chip.efuses).burn_hmac_key(SECRET)
        bench.reset()
        await bench.until_runs("manufacturing")
        async with SmpDriver(str(bench.port), FAST) as driver:
            await hello(driver)
            await driver.keygen("p256")
            request = await driver.request(CHALLENGE, ["hmac-sha256"])
        model = bench.board.model
        transcript = formats.transcript(CHALLENGE, MAC, request.csr_der, model.firmware, bench.locks)
        assert request.evidence == formats.evidence(SECRET, transcript)


async def test_the_classic_chip_has_no_evidence(tmp_path: Path, small_images: MakeImages) -> None:
    images = small_images("esp32")
    async with BootBench("esp32", tmp_path, images.manufacturing_stage) as bench:
        await bench.until_runs("manufacturing")
        async with SmpDriver(str(bench.port), FAST) as driver:
            assert (await hello(driver)).methods == ("none",)


async def test_key_and_code_survive_resets(tmp_path: Path, small_images: MakeImages) -> None:
    images = small_images("esp32c3")
    async with BootBench("esp32c3", tmp_path, images.manufacturing_stage) as bench:
        await bench.until_runs("manufacturing")
        bench.board.handle(write=True, command="keygen", body={"type": "p384"})
        key, pop = bench.board.key, bench.board.pop()
        assert key is not None
        public = keys.public_der(key)
        bench.reset()
        await bench.until_runs("manufacturing")
        assert bench.board.key is not None
        assert keys.public_der(bench.board.key) == public
        assert bench.board.pop() == pop is not None


async def test_a_reset_in_the_middle_of_a_command_restarts_the_chip(
    tmp_path: Path, small_images: MakeImages
) -> None:
    images = small_images("esp32s3")
    async with BootBench("esp32s3", tmp_path, images.manufacturing_stage) as bench:
        await bench.until_runs("manufacturing")
        bench.board.faults = Faults([Fault(Kind.RESET_AFTER, 1, "keygen")])
        resets = bench.chip.resets
        async with SmpDriver(str(bench.port), FAST) as driver:
            await hello(driver)
            await driver.keygen("p256")
        assert bench.chip.resets == resets + 1
        await bench.until_runs("manufacturing")
        assert bench.hello()["key"] == "done"
