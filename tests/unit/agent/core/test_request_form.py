"""What the agent refuses of claims before it sends them is what signerd calls malformed, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest

from agent.core.request_form import check_claims, check_csr_form
from agent.errors import BoardError, Verdict
from signerd.core.csr import check_csr
from signerd.core.evidence.claims import parse_claims
from signerd.core.names import KeyType
from signerd.core.strict_cbor import CborError
from signerd.errors import Code, Refused

VECTORS = Path(__file__).parents[3] / "vectors"
CLAIMS = (VECTORS / "forms" / "claims-1.cbor").read_bytes()
CSR = (VECTORS / "forms" / "csr-1.der").read_bytes()
DIGEST = bytes(range(32))
MUTATIONS = 3_000


def encoded(item: Any) -> bytes:
    return cbor2.dumps(item, canonical=True)


def claims(firmware: Any = None, locks: Any = None) -> bytes:
    """Claims that hold, but for what is given."""
    return encoded(
        [
            {"app": ["1.2.3", DIGEST]} if firmware is None else firmware,
            {"l": True} if locks is None else locks,
        ]
    )


def agent_refuses(data: bytes) -> str:
    """What it says; empty if it refuses nothing."""
    error = None
    try:
        check_claims(data)
    except BoardError as refusal:
        error = refusal
    assert error is None or (error.code, error.verdict) == ("request_malformed", Verdict.REJECT)
    assert error is None or (error.remedy and error.detail.isprintable())
    return "" if error is None else error.detail


def signerd_refuses(data: bytes) -> bool:
    try:
        parse_claims(data)
    except CborError:
        return True
    return False


GOOD = [CLAIMS, claims(), claims({}, {}), claims({"a" * 32: ["1-rc1", DIGEST]}), encoded([{}, {}])]
WRONG = {
    b"": "claims",
    b"\xff": "claims",
    encoded([{}, {}]) + b"\0": "claims",
    b"\x9f\xa0\xa0\xff": "claims",  # of indefinite length
    bytes(5_000): "claims",
    encoded({}): "claims",
    encoded([{}]): "claims",
    encoded([{}, {}, {}]): "claims",
    claims([]): "firmware",
    claims(locks=[]): "security_state",
    claims({f"c{number}": ["1", DIGEST] for number in range(17)}): "firmware",
    claims(locks={f"l{number}": True for number in range(17)}): "security_state",
    claims({"a" * 33: ["1", DIGEST]}): "firmware",
    claims({"": ["1", DIGEST]}): "firmware",
    claims({"\x1b[2J": ["1", DIGEST]}): "firmware",
    claims({"app": "1"}): "firmware.app",
    claims({"app": ["1"]}): "firmware.app",
    claims({"app": ["1", DIGEST, 1]}): "firmware.app",
    claims({"app": [1, DIGEST]}): "firmware.app",
    claims({"app": ["1", DIGEST.hex()]}): "firmware.app",
    claims({"app": ["1", DIGEST[:31]]}): "firmware.app",
    claims({"app": ["1", DIGEST + b"\0"]}): "firmware.app",
    claims({"app": ["", DIGEST]}): "firmware.app",
    claims({"app": ["v1", DIGEST]}): "firmware.app",
    claims({"app": ["1.2.3.4.5", DIGEST]}): "firmware.app",
    claims({"app": ["4294967296", DIGEST]}): "firmware.app",
    claims({"app": ["1\x1b", DIGEST]}): "firmware.app",
    claims(locks={"debug": 1}): "security_state.debug",
    claims(locks={"debug": None}): "security_state.debug",
    claims(locks={"bad name": True}): "security_state",
}


@pytest.mark.parametrize("data", GOOD)
def test_claims_that_hold(data: bytes) -> None:
    assert agent_refuses(data) == ""
    assert not signerd_refuses(data)


@pytest.mark.parametrize(("data", "field"), WRONG.items(), ids=map(str, range(len(WRONG))))
def test_the_field_is_named(data: bytes, field: str) -> None:
    assert agent_refuses(data).startswith(f"the board's {field}: ")
    assert signerd_refuses(data)


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(data):
                data[at] = chance.randrange(256)
            case 2:
                data[at:at] = bytes([chance.randrange(256)])
            case _:
                del data[at : at + chance.randint(1, 3)]
    return bytes(data)


def mutations(seeds: list[bytes]) -> Iterator[bytes]:
    chance = random.Random(11)
    return (mutated(chance, seeds) for _ in range(MUTATIONS))


def test_agent_and_signerd_never_differ_on_claims() -> None:
    verdicts = set()
    for data in mutations(GOOD):
        verdicts.add(bool(agent_refuses(data)))
        assert bool(agent_refuses(data)) is signerd_refuses(data), data.hex()
    assert verdicts == {True, False}


def test_a_csr_that_the_agent_refuses_is_none_for_signerd() -> None:
    samples = [path.read_bytes() for path in sorted((VECTORS / "csr").rglob("*.der"))] + [CSR]
    check_csr_form(CSR)
    check_csr(CSR, accepted=tuple(KeyType))
    refused = 0
    for data in (*samples, *(mutated(random.Random(at), [CSR]) for at in range(300))):
        try:
            check_csr_form(data)
        except BoardError:
            refused += 1
            with pytest.raises(Refused) as caught:
                check_csr(data, accepted=tuple(KeyType))
            assert caught.value.code is Code.CSR_REJECTED
    assert refused > 10


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x31\x00",
        b"\x30\x01",
        b"\x30\x80",
        b"\x30\x81\x01\0",
        b"\x30\x82\x00\x80" + bytes(128),
        CSR + b"\0",
    ],
)
def test_what_is_no_der(data: bytes) -> None:
    with pytest.raises(BoardError, match="request_malformed"):
        check_csr_form(data)
