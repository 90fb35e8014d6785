"""The driver's contract over simulated boards: what it survives, and how it fails."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.adapters.drivers.smp import SmpDriver
from agent.errors import BoardError, ConfigError, LineError
from agent.ports import BoardIdentity, BoardRequest, BoardStamp, KeyState
from boards import formats, keys
from boards.farm import FarmOptions, invented_chips, make_boards
from boards.faults import ALWAYS, COMMANDS, Fault, Kind
from boards.paper_ca import SETTINGS, certificate_for, credential_for
from boards.pty_line import PtyBoard
from harness.hello import hello

CHALLENGE = bytes(range(32))
FAST: dict[str, object] = {"timeout_s": 0.1}


def spki_of(csr_der: bytes) -> bytes:
    public = x509.load_der_x509_csr(csr_der).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def provision(
    pty: PtyBoard, options: dict[str, object] = FAST, key_type: str = "p256"
) -> tuple[BoardIdentity, BoardRequest, BoardStamp]:
    """The whole way of a board, with a certificate of no CA in particular."""
    async with SmpDriver(pty.port, options) as driver:
        identity = await hello(driver)
        await driver.keygen(key_type)
        request = await driver.request(CHALLENGE)
        content = credential_for(spki_of(request.csr_der))
        assert await driver.install(content) == hashlib.sha256(content).digest()
        assert await driver.configure(SETTINGS) == hashlib.sha256(SETTINGS).digest()
        await driver.seal()
        return identity, request, await driver.stamp(CHALLENGE)


def assert_complete(pty: PtyBoard, request: BoardRequest, stamp: BoardStamp) -> None:
    board = pty.board
    assert board.key is not None
    spki = keys.public_der(board.key)
    assert spki_of(request.csr_der) == spki
    model = board.model
    locks = {**model.locks, "debug_closed": False}
    transcript = formats.transcript(CHALLENGE, model.chip_id, request.csr_der, model.firmware, locks)
    assert model.secret is not None
    assert request.evidence == formats.evidence(model.secret, transcript)
    assert board.storage.get("config") == SETTINGS
    assert board.sealed
    public = board.key.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(stamp.signature, stamp.stamp, ec.ECDSA(hashes.SHA256()))
    said = cbor2.loads(stamp.stamp)
    certificate = cbor2.loads(board.storage.get("credential") or b"")[0]
    assert list(said[1:6]) == [
        CHALLENGE, "CHIP-000001", "BM-000001",
        hashlib.sha256(certificate).digest(), hashlib.sha256(SETTINGS).digest(),
    ]  # fmt: skip
    assert said[7]["debug_closed"] is True


async def test_a_board_goes_all_the_way(make_board: Callable[..., PtyBoard]) -> None:
    pty = make_board()
    identity, request, stamp = await provision(pty)
    assert identity.chip_id == "CHIP-000001"
    assert identity.key_state is KeyState.NONE
    assert identity.security_state == {"secure_boot": True, "flash_encryption": True, "debug_closed": False}
    assert_complete(pty, request, stamp)


SURVIVED = [
    *(Fault(Kind.LOSE_ANSWER, 2, command) for command in COMMANDS),
    *(Fault(Kind.RESET_BEFORE, 1, command) for command in COMMANDS),
    *(Fault(Kind.RESET_AFTER, 1, command) for command in COMMANDS),
    *(Fault(Kind.RESET_AT_BYTE, 1, name, value=at)
      for name in ("request", "credential", "config", "stamp") for at in (0, 40)),
    Fault(Kind.RESET_AT_BYTE, 1, "request", value=300),
    Fault(Kind.RESET_AT_BYTE, 3, "credential", value=300),
    Fault(Kind.NOISE, ALWAYS),
    Fault(Kind.BOOT_LOG, ALWAYS),
    Fault(Kind.LATE_ANSWER, 2, "request", value=0.15),
    Fault(Kind.LATE_ANSWER, 1, "credential", value=0.15),
    Fault(Kind.DUPLICATE_ANSWER, ALWAYS),
    Fault(Kind.WRONG_SEQUENCE, 2, "credential"),
    Fault(Kind.CUT_ANSWER, 2, "hello"),
    Fault(Kind.CUT_ANSWER, 2, "request", skip=1),
    Fault(Kind.BAD_CRC, 2, "request"),
    Fault(Kind.RESET_IN_KEYGEN, 2),
    Fault(Kind.KEYGEN_SLOW, 1, value=0.05),
    Fault(Kind.KEYGEN_FAILS, 1),
    Fault(Kind.WRONG_DIGEST, 1, "credential"),
    Fault(Kind.WRONG_DIGEST, 1, "config"),
    Fault(Kind.EXTRA_KEYS, ALWAYS),
]  # fmt: skip


@pytest.mark.parametrize("fault", SURVIVED, ids=lambda fault: f"{fault.kind}-{fault.command}-{fault.value}")
async def test_faults_that_a_board_survives(make_board: Callable[..., PtyBoard], fault: Fault) -> None:
    pty = make_board(
        Fault(**{name: getattr(fault, name) for name in fault.__slots__}), keygen_s=0.01, buffer=256
    )
    _identity, request, stamp = await provision(pty)
    assert_complete(pty, request, stamp)


_BUSY = {"err": {"group": 83, "rc": 2}}
REFUSED = [
    (Fault(Kind.KEYGEN_FAILS, ALWAYS), {}, "keygen_failed"),
    (Fault(Kind.KEYGEN_SLOW, value=60), {"keygen_timeout_s": 0.05}, "keygen_slow"),
    (Fault(Kind.STORAGE_FULL, ALWAYS, "credential"), {}, "storage_full"),
    (Fault(Kind.STORAGE_FULL, ALWAYS, "config"), {}, "storage_full"),
    (Fault(Kind.WRONG_DIGEST, ALWAYS, "config"), {"failures": 1}, "wrong_digest"),
    (Fault(Kind.RESET_AT_BYTE, ALWAYS, "credential", value=300), {"failures": 3}, "bad_offset"),
    (Fault(Kind.ANSWER, ALWAYS, "keygen", value=_BUSY), {"failures": 1}, "busy"),
    (Fault(Kind.ANSWER, ALWAYS, "keygen", value={"state": "none"}), {}, "keygen_failed"),
    (
        Fault(Kind.ANSWER, ALWAYS, "keygen", value={"state": "busy"}),
        {"keygen_timeout_s": 0.05},
        "keygen_slow",
    ),
    (Fault(Kind.ANSWER, ALWAYS, "hello", value={"rc": 8}), {}, "no_group"),
]
OUT_OF_FORM = [
    Fault(Kind.ANSWER, ALWAYS, "hello", value={"proto": 2}),
    Fault(Kind.ANSWER, ALWAYS, "seal", value={"sealed": False}),
    Fault(Kind.ANSWER, ALWAYS, "request", value={"len": 2**30}),
    Fault(Kind.ANSWER, ALWAYS, "request", value={"len": 0}),
    Fault(Kind.ANSWER, ALWAYS, "request", skip=1, value={"off": 0, "data": b"x"}),
    Fault(Kind.ANSWER, ALWAYS, "request", skip=1, value={"off": 0, "data": b""}),
    Fault(Kind.ANSWER, ALWAYS, "request", skip=1, value={"off": 0, "data": bytes(900)}),
    Fault(Kind.ANSWER, ALWAYS, "request", skip=1, value={"off": 9, "data": bytes(100)}),
    Fault(Kind.ANSWER, ALWAYS, "credential", value={"off": 0}),
    Fault(Kind.ANSWER, ALWAYS, "credential", value={"off": -1}),
    Fault(Kind.ANSWER, ALWAYS, "config", value={"off": len(SETTINGS)}),
]


@pytest.mark.parametrize(
    ("fault", "options", "code"),
    [*REFUSED, *((fault, {}, "bad_answer") for fault in OUT_OF_FORM)],
    ids=lambda item: f"{item.kind}-{item.command}-{item.value}" if isinstance(item, Fault) else None,
)
async def test_faults_that_end_in_a_board_error(
    make_board: Callable[..., PtyBoard], fault: Fault, options: dict[str, object], code: str
) -> None:
    pty = make_board(replace(fault), buffer=256)
    with pytest.raises(BoardError) as caught:
        await provision(pty, FAST | options)
    assert caught.value.code == code
    assert caught.value.retryable == (code in ("busy", "bad_offset"))


@pytest.mark.parametrize("kind", [Kind.SILENT, Kind.LOSE_ANSWER, Kind.BAD_CRC, Kind.WRONG_SEQUENCE])
async def test_a_board_that_is_never_heard_is_no_answer(
    make_board: Callable[..., PtyBoard], kind: Kind
) -> None:
    pty = make_board(Fault(kind, ALWAYS))
    with pytest.raises(LineError, match="no_answer"):
        await provision(pty, FAST | {"timeout_s": 0.02})


async def test_a_transfer_that_drips_ends(make_board: Callable[..., PtyBoard]) -> None:
    pty = make_board(buffer=256, baudrate=2400)
    with pytest.raises(LineError, match="too_slow"):
        await provision(pty, {"timeout_s": 5.0, "transfer_timeout_s": 0.2})


async def test_a_port_that_vanishes_is_a_line_error(make_board: Callable[..., PtyBoard]) -> None:
    stays, goes = make_board(), PtyBoard(make_board().board)
    goes.start()
    async with SmpDriver(goes.port, FAST) as driver, SmpDriver(stays.port, FAST) as other:
        await driver.identify()
        await goes.stop()
        with pytest.raises(LineError):
            await driver.identify()
        await other.identify()


async def test_noise_that_the_board_heard_before_does_not_cost_the_first_question(
    make_board: Callable[..., PtyBoard],
) -> None:
    pty = make_board()
    descriptor = os.open(pty.port, os.O_WRONLY | os.O_NOCTTY)
    os.write(descriptor, b"\x06\x09AAs")
    os.close(descriptor)
    async with SmpDriver(pty.port, {"failures": 0, "timeout_s": 5.0}) as driver:
        await driver.identify()


async def test_a_port_that_is_not_there(tmp_path: Any) -> None:
    with pytest.raises(LineError, match="port_gone"):
        async with SmpDriver(str(tmp_path / "none"), FAST):
            raise AssertionError


async def test_a_port_that_is_taken(make_board: Callable[..., PtyBoard]) -> None:
    pty = make_board()
    async with SmpDriver(pty.port, FAST):
        with pytest.raises(LineError, match="port_busy"):
            async with SmpDriver(pty.port, FAST):
                raise AssertionError


@pytest.mark.parametrize("options", [{"baud": 9600}, {"timeout_s": 0}, {"failures": "many"}])
def test_options_out_of_form_are_named(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        SmpDriver("COM1", options)


async def test_a_certificate_for_another_key_is_refused_by_the_board(
    make_board: Callable[..., PtyBoard],
) -> None:
    pty = make_board()
    async with SmpDriver(pty.port, FAST) as driver:
        await driver.keygen("p256")
        other = keys.public_der(keys.make_key("p256"))
        with pytest.raises(BoardError, match="key_mismatch"):
            await driver.install(cbor2.dumps([certificate_for(other), []]))
        assert pty.board.key is not None
        await driver.install(cbor2.dumps([certificate_for(keys.public_der(pty.board.key)), []]))


async def test_repeating_keygen_keeps_the_key(make_board: Callable[..., PtyBoard]) -> None:
    pty = make_board()
    async with SmpDriver(pty.port, FAST) as driver:
        await driver.keygen("p256")
        first = (await driver.request(CHALLENGE)).csr_der
        pty.reset()
        await driver.keygen("p256")
        assert spki_of((await driver.request(CHALLENGE)).csr_der) == spki_of(first)
        with pytest.raises(BoardError, match="unsupported"):
            await driver.keygen("p384")


async def test_a_sealed_board_takes_nothing_else_and_answers_the_same(
    make_board: Callable[..., PtyBoard],
) -> None:
    pty = make_board()
    _identity, request, _stamp = await provision(pty)
    async with SmpDriver(pty.port, FAST) as driver:
        await driver.seal()
        await driver.keygen("p256")
        assert spki_of((await driver.request(CHALLENGE)).csr_der) == spki_of(request.csr_der)
        await driver.configure(SETTINGS)
        with pytest.raises(BoardError, match="sealed"):
            await driver.configure(cbor2.dumps({"serial": "BM-000002"}))


@pytest.mark.parametrize("key_type", ["p384", "rsa2048"])
async def test_other_key_types(make_board: Callable[..., PtyBoard], key_type: str) -> None:
    pty = make_board()
    # While an RSA key is made the simulated board gets little of the interpreter.
    _identity, request, _stamp = await provision(pty, {"timeout_s": 2.0}, key_type)
    assert pty.board.key is not None
    assert spki_of(request.csr_der) == keys.public_der(pty.board.key)


async def test_a_csr_as_mbed_tls_writes_it_arrives_unchanged(make_board: Callable[..., PtyBoard]) -> None:
    pty = make_board(null_parameters=True)
    async with SmpDriver(pty.port, FAST) as driver:
        await driver.keygen("p256")
        csr = (await driver.request(CHALLENGE)).csr_der
    assert bytes.fromhex("06082a8648ce3d0403020500") in csr


async def test_progress_is_told_and_never_goes_back(make_board: Callable[..., PtyBoard]) -> None:
    pty = make_board(buffer=256, keygen_s=0.02)
    seen: list[tuple[int, int]] = []
    async with SmpDriver(pty.port, FAST) as driver:
        await driver.identify()
        await driver.keygen("p256", lambda done, total: seen.append((done, total)))
        assert seen[0] == (50, 100)
        assert seen[-1] == (100, 100)
        seen.clear()
        await driver.configure(cbor2.dumps({"serial": "X", "pad": bytes(1000)}), lambda *at: seen.append(at))
    assert len(seen) > 3
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


async def test_sixteen_boards_do_not_disturb_each_other(make_board: Callable[..., PtyBoard]) -> None:
    faults = {
        3: Fault(Kind.SILENT, ALWAYS),
        5: Fault(Kind.NOISE, ALWAYS),
        7: Fault(Kind.ANSWER, ALWAYS, "hello", value=b"\xff"),
    }
    boards = [make_board(*filter(None, [faults.get(number)])) for number in range(16)]
    results = await asyncio.gather(
        *(provision(pty, {"timeout_s": 1.0}) for pty in boards), return_exceptions=True
    )
    failed = {
        number: type(result) for number, result in enumerate(results) if isinstance(result, BaseException)
    }
    assert failed == {3: LineError, 7: BoardError}


async def test_no_command_returns_the_private_key_or_the_chip_secret(
    make_board: Callable[..., PtyBoard],
) -> None:
    pty = make_board()
    answers: list[object] = []
    handle = pty.board.handle

    def listen(**command: Any) -> dict[str, object]:
        answers.append(answer := handle(**command))
        return answer

    pty.board.handle = listen  # type: ignore[method-assign]
    await provision(pty)
    said = cbor2.dumps(answers)
    key = pty.board.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    public = key.public_key().public_numbers()
    assert public.x.to_bytes(32, "big") in said  # what is listened to is what the board says
    assert key.private_numbers().private_value.to_bytes(32, "big") not in said
    assert pty.board.model.secret is not None
    assert pty.board.model.secret not in said


_ITEMS = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 20_000) | st.text(max_size=6) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=5,
)
_FIELDS = ["state", "pct", "pop", "salt", "len", "off", "data", "sha", "err", "rc", "sealed", "key", "buf"]
_CALLS: dict[str, Callable[[SmpDriver], Awaitable[object]]] = {
    "hello": SmpDriver.identify,
    "keygen": lambda driver: driver.keygen("p256"),
    "request": lambda driver: driver.request(CHALLENGE),
    "credential": lambda driver: driver.install(bytes(2000)),
    "config": lambda driver: driver.configure(bytes(2000)),
    "seal": SmpDriver.seal,
    "pop": SmpDriver.pop,
    "stamp": lambda driver: driver.stamp(CHALLENGE),
}


@settings(max_examples=150, deadline=None)
@given(
    command=st.sampled_from(sorted(_CALLS)),
    value=st.binary(max_size=200) | st.dictionaries(st.sampled_from(_FIELDS), _ITEMS, max_size=4) | _ITEMS,
    skip=st.integers(0, 2),
)
def test_whatever_a_board_answers_a_step_ends(command: str, value: object, skip: int) -> None:
    async def ask() -> None:
        (pty,) = make_boards(invented_chips(1), FarmOptions())
        pty.board.faults._faults.append(Fault(Kind.ANSWER, ALWAYS, command, skip, value))
        pty.start()
        options = {"timeout_s": 0.2, "failures": 1, "keygen_timeout_s": 0.05}
        try:
            async with SmpDriver(pty.port, options) as driver:
                if command in ("request", "credential", "stamp"):
                    await driver.keygen("p256")
                await _CALLS[command](driver)
        except (BoardError, LineError):
            return
        finally:
            await pty.stop()

    asyncio.run(ask())
