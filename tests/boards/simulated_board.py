"""A board that answers the board protocol (docs/board-protocol.md): commands in, answers out, no line.

It makes its own key and holds its own roots of trust (`boards.attesters`); no command returns a secret of
either. It can be told to misbehave (`boards.faults`). Time is the clock that it is given.
"""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import cbor2

from boards import formats, keys
from boards.attesters import csr_attestation
from boards.attesters.hmac_sha256 import HmacAttester
from boards.attesters.port import COMPONENT, VERSION, Attester
from boards.faults import Faults, Kind
from boards.storage import Storage, StorageFull, Store

MAX_CONTENT = 16_384
POP_CODE_BITS, POP_SALT_BYTES = 80, 16  # docs/board-protocol.md: at least 40 bits
HEAD_ROOM = 40  # bytes of an answer that a chunk leaves for header and map

_KEY_MAKERS: Executor = ThreadPoolExecutor(2, thread_name_prefix="keygen")  # RSA only: it takes seconds


class BoardProtocolError(Exception):
    """The board answers this error."""

    def __init__(self, rc: int) -> None:
        super().__init__(f"rc {rc}")
        self.rc = rc


UNKNOWN, BUSY, NO_KEY, BAD_STATE, BAD_OFFSET, DIGEST_MISMATCH = 1, 2, 3, 4, 5, 6
STORAGE_FULL, KEY_MISMATCH, UNSUPPORTED, BAD_REQUEST, SEALED = 7, 8, 9, 10, 11


class ResetRequested(Exception):  # noqa: N818 (not an error: what the board does)
    """A fault resets the board now."""


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


@dataclass(frozen=True, slots=True)
class BoardModel:
    """What a board is when it leaves its maker."""

    chip_id: str
    secret: bytes | None = None  # a chip key, where `hmac-sha256` is all that the board offers
    attesters: tuple[Attester, ...] = ()  # its roots of trust, preferred first; with no secret either: "none"
    model: str = "sensor"
    firmware: Mapping[str, tuple[str, bytes]] = field(
        default_factory=lambda: {COMPONENT: (VERSION, _digest("app")), "boot": ("2.1.0", _digest("boot"))}
    )
    locks: Mapping[str, bool] = field(default_factory=lambda: {"secure_boot": True, "flash_encryption": True})
    key_types: tuple[str, ...] = keys.KEY_TYPES
    keygen_s: float = 0.0
    buffer: int = 1024
    null_parameters: bool = False  # CSRs as Mbed TLS 2.28 writes them
    evidence_in_csr: bool = False  # as an attribute of the CSR, not beside it: psa-token and tpm2
    pop: bool = False  # it has a proof-of-possession code

    @property
    def roots_of_trust(self) -> dict[str, Attester]:
        """By method, preferred first."""
        burned = () if self.secret is None else (HmacAttester(self.secret),)
        return {attester.method: attester for attester in (*self.attesters, *burned)}

    @property
    def methods(self) -> list[str]:
        """What `hello` offers."""
        return list(self.roots_of_trust) or ["none"]


@dataclass(slots=True)
class _Incoming:
    command: str
    length: int
    digest: bytes
    data: bytearray = field(default_factory=bytearray)


Answer = dict[str, object]


class SimulatedBoard:
    """The board's firmware. `storage` is all that survives `reset`."""

    def __init__(
        self,
        model: BoardModel,
        storage: Store | None = None,
        faults: Faults | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self.storage: Store = storage or Storage()
        self.faults = faults or Faults()
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forgets all that is not in storage."""
        self._incoming: _Incoming | None = None
        self._outgoing: dict[str, bytes] = {}
        self._making: tuple[str, Future[keys.PrivateKey], float] | None = None
        self._keygen_failed = False

    def handle(self, *, write: bool, command: str, body: Mapping[str, object]) -> Answer:
        """Answers one command.

        Raises:
            BoardProtocolError: answered as an error.
            ResetRequested: a fault resets the board; the caller calls `reset`.
        """
        handlers: dict[tuple[str, bool], Callable[[Mapping[str, object]], Answer]] = {
            ("hello", False): self._hello,
            ("keygen", True): self._start_keygen,
            ("keygen", False): lambda _body: self._keygen_state(),
            ("request", True): self._prepare_request,
            ("request", False): lambda body: self._chunk("request", body),
            ("credential", True): lambda body: self._receive("credential", body),
            ("config", True): lambda body: self._receive("config", body),
            ("stamp", True): lambda body: self._keep("stamp", self.make_stamp(_challenge(body))),
            ("stamp", False): lambda body: self._chunk("stamp", body),
            ("seal", True): self._seal,
            ("pop", False): self._answer_pop,
        }
        handler = handlers.get((command, write))
        if handler is None:
            raise BoardProtocolError(BAD_REQUEST)
        try:
            return handler(body)
        except StorageFull as error:
            raise BoardProtocolError(STORAGE_FULL) from error

    @property
    def sealed(self) -> bool:
        return self.storage.get("sealed") is not None

    @property
    def security_state(self) -> dict[str, bool]:
        return {**self.model.locks, "debug_closed": self.sealed}

    @property
    def key(self) -> keys.PrivateKey | None:
        """The private key: for the board itself, and for tests that look behind the line."""
        self._finish_keygen()
        stored = self.storage.get("key")
        return None if stored is None else keys.from_storage(stored)

    def make_request(self, challenge: bytes, accepted: Sequence[str] | None = None) -> bytes:
        """The content of `request`: CSR, method, claims, evidence.

        Args:
            challenge: signerd's.
            accepted: methods that the session accepts; None: the board's preference counts.

        Raises:
            BoardProtocolError: no key yet, or no accepted method.
        """
        method = self._choose_method(accepted)
        key = self._need_key()
        csr = keys.make_csr(key, self.model.chip_id, null_parameters=self.model.null_parameters)
        firmware, locks = self.model.firmware, self.security_state
        claims = formats.claims(firmware, locks)
        attester = self.model.roots_of_trust.get(method)
        if attester is None:
            return cbor2.dumps([csr, method, claims, b""])
        stale = self.faults.take(Kind.STALE_EVIDENCE, "request") is not None
        over = os.urandom(len(challenge)) if stale else challenge

        def attest(request: bytes) -> bytes:
            return attester.attest(
                formats.transcript(over, self.model.chip_id, request, firmware, locks), csr
            )

        if self.model.evidence_in_csr:
            return cbor2.dumps([csr_attestation.wrap(key, csr, method, attest), method, claims, b""])
        return cbor2.dumps([csr, method, claims, attest(csr)])

    def _choose_method(self, accepted: Sequence[str] | None) -> str:
        for method in self.model.methods:
            if accepted is None or method in accepted:
                return method
        raise BoardProtocolError(UNSUPPORTED)

    def stamp_fields(self, challenge: bytes) -> formats.StampFields:
        """What the board says of itself, from what its storage holds."""
        credential, settings = self.storage.get("credential"), self.storage.get("config")
        if credential is None or settings is None:
            raise BoardProtocolError(BAD_STATE)
        pop = self.pop()
        return formats.StampFields(
            challenge=challenge,
            chip_id=self.model.chip_id,
            serial_number=cbor2.loads(settings)["serial"],
            certificate_digest=hashlib.sha256(cbor2.loads(credential)[0]).digest(),
            settings_digest=hashlib.sha256(settings).digest(),
            firmware=self.model.firmware,
            security_state=self.security_state,
            pop_commitment=None if pop is None else hashlib.sha256(pop[1] + pop[0].encode()).digest(),
        )

    def pop(self) -> tuple[str, bytes] | None:
        """Code and salt, made when they are first needed and kept; None where the board has none."""
        if not self.model.pop:
            return None
        kept = self.storage.get("pop")
        if kept is None:
            kept = os.urandom(POP_SALT_BYTES) + base64.b32encode(os.urandom(POP_CODE_BITS // 8))
            self.storage.put("pop", kept)
        return kept[POP_SALT_BYTES:].decode(), kept[:POP_SALT_BYTES]

    def _answer_pop(self, _body: Mapping[str, object]) -> Answer:
        pop = self.pop()
        if pop is None:
            raise BoardProtocolError(UNSUPPORTED)
        return {"pop": pop[0], "salt": pop[1]}

    def make_stamp(self, challenge: bytes) -> bytes:
        """The content of `stamp`: the stamp and its signature."""
        key = self._need_key()
        fields = self.stamp_fields(challenge)
        fault = self.faults.take(Kind.STAMP_LIES, "stamp")
        if fault is not None:
            fields = _lie(fields, str(fault.value))
        stamp = fields.encode()
        return cbor2.dumps([stamp, keys.sign(key, stamp)])

    def _hello(self, _body: Mapping[str, object]) -> Answer:
        def stored(name: str) -> bytes | None:
            content = self.storage.get(name)
            return None if content is None else hashlib.sha256(content).digest()

        return {
            "proto": 1,
            "model": self.model.model,
            "chip": self.model.chip_id,
            "fw": {name: list(component) for name, component in self.model.firmware.items()},
            "sec": self.security_state,
            "methods": self.model.methods,
            "keys": list(self.model.key_types),
            "key": self._keygen_state()["state"],
            "cred": stored("credential"),
            "conf": stored("config"),
            "sealed": self.sealed,
            "buf": self.model.buffer,
        }

    def _start_keygen(self, body: Mapping[str, object]) -> Answer:
        key_type = body.get("type")
        if not isinstance(key_type, str) or key_type not in self.model.key_types:
            raise BoardProtocolError(UNSUPPORTED)
        self._finish_keygen()
        existing = self.storage.get("key_type")
        under_way = self._making[0].encode() if self._making is not None else existing
        if under_way is not None and under_way != key_type.encode():
            raise BoardProtocolError(UNSUPPORTED)
        if existing is None and self._making is None:
            if self.sealed:
                raise BoardProtocolError(SEALED)
            self._begin_key(key_type)
        return self._keygen_state()

    def _begin_key(self, key_type: str) -> None:
        slow = self.faults.take(Kind.KEYGEN_SLOW, "keygen")
        seconds = (
            slow.value if slow is not None and isinstance(slow.value, int | float) else self.model.keygen_s
        )
        self._keygen_failed = False
        if key_type.startswith("rsa"):
            future = _KEY_MAKERS.submit(keys.make_key, key_type)
        else:
            future = Future()
            future.set_result(keys.make_key(key_type))
        self._making = (key_type, future, self._clock() + seconds)

    def _finish_keygen(self) -> None:
        if self._making is None:
            return
        key_type, future, ready_at = self._making
        if not future.done() or self._clock() < ready_at:
            return
        self._making = None
        if self.faults.take(Kind.KEYGEN_FAILS, "keygen") is not None:
            self._keygen_failed = True
            return
        self.storage.put("key_type", key_type.encode())
        self.storage.put("key", keys.to_storage(future.result()))

    def _keygen_state(self) -> Answer:
        self._finish_keygen()
        if self._making is not None:
            if self.faults.take(Kind.RESET_IN_KEYGEN, "keygen") is not None:
                raise ResetRequested
            return {"state": "busy", "pct": 50}
        if self.storage.get("key") is not None:
            return {"state": "done"}
        return {"state": "failed" if self._keygen_failed else "none"}

    def _need_key(self) -> keys.PrivateKey:
        key = self.key
        if self._making is not None:
            raise BoardProtocolError(BUSY)
        if key is None:
            raise BoardProtocolError(NO_KEY)
        return key

    def _prepare_request(self, body: Mapping[str, object]) -> Answer:
        if "methods" not in body:
            return self._keep("request", self.make_request(_challenge(body)))
        accepted = body["methods"]
        if not isinstance(accepted, list) or not all(isinstance(method, str) for method in accepted):
            raise BoardProtocolError(BAD_REQUEST)
        return self._keep("request", self.make_request(_challenge(body), accepted))

    def _keep(self, command: str, content: bytes) -> Answer:
        self._outgoing[command] = content
        return {"len": len(content)}

    def _chunk(self, command: str, body: Mapping[str, object]) -> Answer:
        offset = body.get("off")
        if not isinstance(offset, int) or offset < 0:
            raise BoardProtocolError(BAD_REQUEST)
        self._reset_at(command, offset + 1)
        content = self._outgoing.get(command)
        if content is None or offset >= len(content):
            raise BoardProtocolError(BAD_OFFSET)
        return {"off": offset, "data": content[offset : offset + self.model.buffer - HEAD_ROOM]}

    def _receive(self, command: str, body: Mapping[str, object]) -> Answer:
        offset, data = body.get("off"), body.get("data")
        if not isinstance(offset, int) or not isinstance(data, bytes):
            raise BoardProtocolError(BAD_REQUEST)
        if command == "credential":
            self._need_key()
        if offset == 0:
            self._incoming = self._begin_transfer(command, body)
        transfer = self._incoming
        if transfer is None or transfer.command != command or offset != len(transfer.data):
            raise BoardProtocolError(BAD_OFFSET)
        self._reset_at(command, offset + len(data))
        if offset + len(data) > transfer.length:
            raise BoardProtocolError(BAD_REQUEST)
        transfer.data += data
        if len(transfer.data) < transfer.length:
            return {"off": len(transfer.data)}
        self._incoming = None
        return self._store(command, bytes(transfer.data), transfer.digest)

    def _begin_transfer(self, command: str, body: Mapping[str, object]) -> _Incoming:
        length, digest = body.get("len"), body.get("sha")
        if not isinstance(length, int) or not isinstance(digest, bytes) or not 0 < length <= MAX_CONTENT:
            raise BoardProtocolError(BAD_REQUEST)
        stored = self.storage.get(command)
        if self.sealed and (stored is None or hashlib.sha256(stored).digest() != digest):
            raise BoardProtocolError(SEALED)
        return _Incoming(command, length, digest)

    def _store(self, command: str, content: bytes, digest: bytes) -> Answer:
        if hashlib.sha256(content).digest() != digest:
            raise BoardProtocolError(DIGEST_MISMATCH)
        if command == "credential" and self.faults.take(Kind.ACCEPTS_ANY_CERTIFICATE, command) is None:
            self._check_credential(content)
        if self.faults.take(Kind.STORAGE_FULL, command) is not None:
            raise BoardProtocolError(STORAGE_FULL)
        self.storage.put(command, content)
        read_back = self.storage.get(command) or b""
        if self.faults.take(Kind.WRONG_DIGEST, command) is not None:
            read_back = bytes([read_back[0] ^ 1]) + read_back[1:]
        return {"off": len(content), "sha": hashlib.sha256(read_back).digest()}

    def _check_credential(self, content: bytes) -> None:
        try:
            certificate = cbor2.loads(content)[0]
        except (cbor2.CBORError, ValueError, TypeError, IndexError, KeyError) as error:
            raise BoardProtocolError(BAD_REQUEST) from error
        if not isinstance(certificate, bytes) or not keys.is_for_key(certificate, self._need_key()):
            raise BoardProtocolError(KEY_MISMATCH)

    def _seal(self, _body: Mapping[str, object]) -> Answer:
        self.storage.put("sealed", b"\x01")
        return {"sealed": True}

    def _reset_at(self, command: str, end: int) -> None:
        if self.faults.take(Kind.RESET_AT_BYTE, command, offset=end) is not None:
            raise ResetRequested


def _challenge(body: Mapping[str, object]) -> bytes:
    challenge = body.get("challenge")
    if not isinstance(challenge, bytes) or len(challenge) != 32:
        raise BoardProtocolError(BAD_REQUEST)
    return challenge


def _lie(fields: formats.StampFields, name: str) -> formats.StampFields:
    """Changes one field of a stamp; `name` as in `StampFields`."""
    lies = {
        "challenge": replace(fields, challenge=bytes(32)),
        "chip_id": replace(fields, chip_id=fields.chip_id + "X"),
        "serial_number": replace(fields, serial_number=fields.serial_number + "X"),
        "certificate_digest": replace(fields, certificate_digest=bytes(32)),
        "settings_digest": replace(fields, settings_digest=bytes(32)),
        "firmware": replace(fields, firmware={"app": ("0.0.1", bytes(32))}),
        "security_state": replace(fields, security_state=dict.fromkeys(fields.security_state, False)),
        "pop_commitment": replace(fields, pop_commitment=bytes(31)),  # any 32 bytes would be allowed
    }
    return lies[name]
