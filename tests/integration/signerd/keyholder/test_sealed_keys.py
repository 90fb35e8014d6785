"""Keys that a token cannot hold: opened at start in locked memory, by the token or by its spare."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.key_holders import ALL_SEALED, TokenAtHand, make_token, running
from signerd.adapters.installation import Wishes
from signerd.adapters.keyholder.channel import KeyHolderRefusal
from signerd.adapters.keyholder.personalization import derive_chip_keys
from signerd.adapters.keyholder.sealed_file import read_sealed_file
from signerd.core.names import MacKey, MacQuestion, Place
from signerd.errors import ConfigError

pytestmark = pytest.mark.check


def locked_kilobytes(pid: int | None) -> int:
    found = re.search(r"VmLck:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
    assert found
    return int(found[1])


async def test_what_is_opened_is_in_locked_memory(sealed_token: TokenAtHand, token: TokenAtHand) -> None:
    async def locked(held: TokenAtHand) -> int:
        async with running(held.settings, held.pin) as holder:
            return locked_kilobytes(holder.pid)

    assert await locked(sealed_token) >= await locked(token) + 8  # a page for each secret


async def test_the_spare_opens_what_the_first_token_opens(sealed_token: TokenAtHand, tmp_path: Path) -> None:
    assert sealed_token.config.hsm.sealed is not None
    recipient = read_sealed_file(sealed_token.config.hsm.sealed).recipients[0]
    spare = tmp_path / "spare.pem"
    spare.write_bytes(recipient.key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    first = await asyncio.to_thread(
        make_token, tmp_path / "dev", Wishes(master_key=Place.SEALED, spares=(spare,))
    )
    own = first.config.hsm
    by_spare = sealed_token.config.hsm.model_copy(
        update={"sealed": own.sealed, "master_commitment": own.master_commitment}
    )
    keys = await derive_chip_keys(by_spare, sealed_token.pin, ["chip-1"])
    assert keys == await derive_chip_keys(own, first.pin, ["chip-1"])


async def test_an_installation_without_a_master_key_checks_and_derives_nothing(tmp_path: Path) -> None:
    token = await asyncio.to_thread(make_token, tmp_path / "dev", Wishes(master_key=Place.NONE))
    async with running(token.settings, token.pin) as holder:
        with pytest.raises(KeyHolderRefusal, match="no chip master key"):
            await holder.check_chip_mac(MacQuestion("chip-1", MacKey.CHIP, "sha256", b"message", bytes(32)))
    with pytest.raises(KeyHolderRefusal, match="no chip master key"):
        await derive_chip_keys(token.config.hsm, token.pin, ["chip-1"])


def test_a_damaged_file_is_named_before_a_token_is_asked(tmp_path: Path) -> None:
    token = make_token(tmp_path / "dev", ALL_SEALED)
    sealed = token.config.hsm.sealed
    assert sealed is not None
    sealed.write_bytes(sealed.read_bytes()[:-10])
    with pytest.raises(ConfigError, match=r"sealed\.json holds no sealed secrets"):
        _ = token.settings
    sealed.unlink()
    with pytest.raises(ConfigError, match="restore it from the backup"):
        _ = token.settings
