"""The messages of SMP group 83 (docs/board-protocol.md), to bytes and from bytes. Pure.

Whatever a board answers, `parse_answer` and the readers of contents raise `BoardError` or return values
that hold the bounds. Unknown keys are ignored: vendors add their own.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import cbor2
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from smp.error import MGMT_ERR
from smp.header import OP, Flag, Header, Version

from agent.adapters.drivers.chip_id import require_chip_id
from agent.adapters.drivers.smp_framing import MAX_MESSAGE
from agent.core.pop import PopError, ProofOfPossession
from agent.errors import BoardError
from agent.ports import BoardIdentity, BoardRequest, BoardStamp, FirmwareComponent, KeyState

GROUP = 83
PROTOCOL = 1
MAX_CONTENT = 16_384  # bytes of one content that is written
MAX_READ = 32_768  # bytes of one content that is read: a request holds up to 28,672 and their heads
MAX_CSR = 8_192  # bytes, docs/formats.md, as the next two
MAX_CLAIMS = 4_096
MAX_EVIDENCE = 16_384
MIN_BUFFER = 256  # bytes; the least `buf` of a board
MIN_CHUNK = 64  # bytes; the least that a read answers, unless less is left

HELLO, KEYGEN, REQUEST, CREDENTIAL, CONFIG, STAMP, SEAL, POP = range(8)

ERROR_NAMES = {
    1: "unknown",
    2: "busy",
    3: "no_key",
    4: "bad_state",
    5: "bad_offset",
    6: "digest_mismatch",
    7: "storage_full",
    8: "key_mismatch",
    9: "unsupported",
    10: "bad_request",
    11: "sealed",
}
_PASSING = frozenset({"busy", "bad_offset"})  # a state of the moment, not of the board

_Digest = Annotated[bytes, Field(min_length=32, max_length=32)]
_Component = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,32}$")]
_VERSION = re.compile(r"[A-Za-z0-9.-]{1,32}")
_Word = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
_METHOD = re.compile(r"[a-z0-9-]{1,32}")
_ReadSize = Annotated[int, Field(ge=0, le=MAX_READ)]
_WrittenSize = Annotated[int, Field(ge=0, le=MAX_CONTENT)]


class Answer(BaseModel):
    """An answer without an error. Types are exact: no text is taken for a number."""

    # What a board answers may be its code: no text of an error holds it, nor that of what caused the error.
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", hide_input_in_errors=True)


class HelloAnswer(Answer):
    """See `hello`."""

    proto: int
    model: Annotated[str, Field(pattern=r"^[ -~]{0,64}$")]  # printable: it goes to the operator's terminal
    chip: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
    fw: Annotated[
        dict[_Component, Annotated[list[Any], Field(min_length=2, max_length=2)]], Field(max_length=16)
    ]
    sec: Annotated[dict[_Component, bool], Field(max_length=16)]
    methods: Annotated[list[_Word], Field(max_length=16)]
    keys: Annotated[list[_Word], Field(max_length=16)]
    key: Literal["none", "busy", "done", "failed"]
    cred: _Digest | None
    conf: _Digest | None
    sealed: bool
    buf: Annotated[int, Field(ge=MIN_BUFFER, le=65_535)]


class KeygenAnswer(Answer):
    """See `keygen`, both operations."""

    state: Literal["none", "busy", "done", "failed"]
    pct: Annotated[int, Field(ge=0, le=100)] | None = None


class LengthAnswer(Answer):
    """A content is ready to be read."""

    len: _ReadSize


class ChunkAnswer(Answer):
    """A part of a content that is being read."""

    off: _ReadSize
    data: bytes


class StoredAnswer(Answer):
    """A part of a content was taken; with `sha`, the whole of it is stored."""

    off: _WrittenSize
    sha: _Digest | None = None


class SealAnswer(Answer):
    """The locks are closed."""

    sealed: Literal[True]


class PopAnswer(Answer):
    """The proof-of-possession code. A secret: neither `repr` nor an error may show it."""

    pop: str = Field(repr=False)
    salt: bytes = Field(repr=False)


AnswerT = TypeVar("AnswerT", bound=Answer)


def encode_request(operation: OP, command: int, sequence: int, body: dict[str, object]) -> bytes:
    """An SMP version 2 request: header and deterministic CBOR map. `sequence` is 0 to 255."""
    payload = cbor2.dumps(body, canonical=True)
    header = Header(operation, Version.V2, Flag.UNUSED, len(payload), GROUP, sequence, command)
    return header.BYTES + payload


def answers(message: bytes, request: bytes) -> bool:
    """True if `message` is the answer to `request` and not one that comes late or to somebody else."""
    if len(message) < Header.SIZE:
        return False
    same_place = message[4:8] == request[4:8]  # group, sequence, command
    return same_place and message[0] & 0b111 == (request[0] & 0b111) + 1


def parse_answer(message: bytes, expected: type[AnswerT]) -> AnswerT:
    """Reads an answer that `answers` has matched.

    Raises:
        BoardError: the board's own error by its name; `bad_answer` for anything out of form.
    """
    payload = message[Header.SIZE :]
    if int.from_bytes(message[2:4], "big") != len(payload):
        raise BoardError("bad_answer", "the SMP header's length is not that of the message")
    body = _decode_cbor(payload)
    if not isinstance(body, dict):
        raise BoardError("bad_answer", "the answer is not a map")
    _raise_error(body)
    return _validate(body, expected)


def decode_body(message: bytes) -> dict[Any, Any] | None:
    """The CBOR map of any message, header included; None where it holds none. For who only looks on."""
    try:
        body = _decode_cbor(message[Header.SIZE :])
    except BoardError:
        return None
    return body if isinstance(body, dict) else None


def _validate(body: object, expected: type[AnswerT]) -> AnswerT:
    try:
        return expected.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"][:2])
        how = "is missing" if first["type"] == "missing" else "is not as docs/board-protocol.md has it"
        raise BoardError("bad_answer", f"{_told(expected)}: {place[:80]!r} {how}") from error


def _told(answer: type[Answer]) -> str:
    return f"the board's {answer.__name__.removesuffix('Answer').lower()} answer"


def _raise_error(body: dict[Any, Any]) -> None:
    """Raises the error that an answer holds: `err` of our group, or a bare `rc` of SMP itself."""
    err, rc = body.get("err"), body.get("rc")
    if err is None and (rc is None or rc == 0):
        return
    if isinstance(err, dict) and type(err.get("rc")) is int and err.get("group") == GROUP:
        code = ERROR_NAMES.get(err["rc"], "unknown")
        raise BoardError(code, f"the board answered error {err['rc']}", retryable=code in _PASSING)
    if err is None and type(rc) is int:
        no_group = rc == MGMT_ERR.ENOTSUP
        raise BoardError("no_group" if no_group else "unknown", f"SMP itself answered error {rc}")
    raise BoardError("bad_answer", "an error that is not of our group")


def _no_tag(_item: object, _immutable: bool) -> object:  # noqa: FBT001 (cbor2 calls it so)
    raise cbor2.CBORDecodeError("tags are not used in this protocol")


# Shared values and string references let few bytes stand for an endless structure.
_REFUSED_TAGS = dict.fromkeys((25, 28, 29, 256), _no_tag)


def _decode_cbor(data: bytes) -> object:
    try:
        return cbor2.loads(
            data,
            max_depth=6,
            allow_indefinite=True,  # zcbor writes its maps so
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            semantic_decoders=_REFUSED_TAGS,
        )
    except (cbor2.CBORError, ValueError, OverflowError, TypeError) as error:
        raise BoardError("bad_answer", "not CBOR") from error


def identity(answer: HelloAnswer) -> BoardIdentity:
    """The board as the rest of the station knows it. Raises `BoardError` as `parse_answer` does."""
    if answer.proto != PROTOCOL:
        raise BoardError(
            "unsupported",
            f"the board speaks version {answer.proto} of the board protocol, the station {PROTOCOL}",
            remedy="Flash a manufacturing firmware that this station knows, or update the station.",
        )
    require_chip_id(answer.chip)
    return BoardIdentity(
        model=answer.model,
        chip_id=answer.chip,
        firmware={name: _component(name, pair) for name, pair in answer.fw.items()},
        security_state=answer.sec,
        methods=tuple(answer.methods),
        key_types=tuple(answer.keys),
        key_state=KeyState(answer.key),
        credential_sha256=answer.cred,
        settings_sha256=answer.conf,
        sealed=answer.sealed,
        buffer=min(answer.buf, MAX_MESSAGE),
    )


def proof_of_possession(answer: PopAnswer) -> ProofOfPossession:
    """The board's code and salt. Raises `BoardError`, whose text shows nothing of them."""
    try:
        return ProofOfPossession(answer.pop, answer.salt)
    except PopError as error:
        raise BoardError("bad_answer", f"{_told(PopAnswer)}: {error}") from error


def _component(name: str, pair: list[Any]) -> FirmwareComponent:
    version, digest = pair
    if not (
        type(version) is str and _VERSION.fullmatch(version) and type(digest) is bytes and len(digest) == 32
    ):
        what = f"{_told(HelloAnswer)}: version or digest of {name!r} is not as docs/board-protocol.md has it"
        raise BoardError("bad_answer", what)
    return FirmwareComponent(version, digest)


def parse_request(content: bytes) -> BoardRequest:
    """Reads the content of `request`: `[csr, method, claims, evidence]`. Nobody here looks into evidence."""
    match _decode_cbor(content):
        case [bytes(csr), str(method), bytes(claims), bytes(evidence)] if (
            0 < len(csr) <= MAX_CSR
            and _METHOD.fullmatch(method)
            and len(claims) <= MAX_CLAIMS
            and len(evidence) <= MAX_EVIDENCE
        ):
            return BoardRequest(csr, method, claims, evidence)
    raise BoardError("bad_answer", "the request is not [csr, method, claims, evidence] in bounds")


def parse_stamp(content: bytes) -> BoardStamp:
    """Reads the content of `stamp`: `[stamp, signature]`."""
    match _decode_cbor(content):
        case [bytes(stamp), bytes(signature)] if 0 < len(stamp) <= 4096 and 0 < len(signature) <= 512:
            return BoardStamp(stamp, signature)
    raise BoardError("bad_answer", "the stamp is not [stamp, signature] in bounds")
