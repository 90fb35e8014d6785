"""What passes between signerd and its key holder: CBOR items in length-prefixed frames, on a socket pair.

    4 bytes   length of the item, big-endian, at most MAX_FRAME
    item      first frame: the `Setup`, to a service a hello; then requests `[number, operation, argument, …]`
              answers: first `[BEGUN, text]`, and `[outcome, text]` once it is logged in; then
              `[number, outcome, value]`, in order

Neither end believes a frame: a length beyond the bound, bytes that are no CBOR, or another shape end the
connection with `ProtocolError`.
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass, fields
from enum import IntEnum, StrEnum

import cbor2

MAX_FRAME = 16 * 1024 * 1024  # bytes; a CRL of 300,000 certificates
MAX_TBS = 16 * 1024  # bytes of a TBSCertificate
MAX_MESSAGE = 16 * 1024  # bytes under a chip's MAC; a transcript has at most some 5,000
MAX_NUMBER = 2**63  # of requests on one line
_MAX_ITEMS = 512  # in a frame; an approval with its signatures has 20, what a certificate is for 28
_MAX_REPORT_ITEMS = 16_384  # a token with 100 mechanisms and 100 keys has 3,000
_MAX_DEPTH = 8
_BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(2, 8)  # major types of RFC 8949, section 3.1
_BIGNUM = 2  # the one tag: a certificate's serial number is larger than 64 bits
_NULL = 22
_BOOLEANS_AND_NULL = (20, 21, _NULL)
SERVICE_FORM = 2  # of what passes between signerd and a key holder's service
_LENGTH = struct.Struct(">I")


class ProtocolError(Exception):
    """The other end sent something that is no frame of this protocol."""


class Mode(StrEnum):
    """What a key holder was started for. It does that and nothing else."""

    SERVE = "serve"  # sign and check, for the daemon
    PERSONALIZE = "personalize"  # derive chip keys, for a trusted personalization; signs nothing
    GENERATE = "generate"  # make the keys, for `signerd init`
    RESEAL = "reseal"  # seal what is sealed to other tokens, for `signerd recipient`; signs nothing


class Operation(StrEnum):
    """What may be asked."""

    SIGN_CERTIFICATE = "sign_certificate"  # serve: TBSCertificate -> DER signature value
    SIGN_CRL = "sign_crl"  # serve: TBSCertList -> DER signature value
    SIGN_CHECKPOINT = "sign_checkpoint"  # serve: note text -> 64 bytes
    CHECK_CHIP_MAC = "check_chip_mac"  # serve: chip id, key, hash, message, MAC -> bool
    SESSION_KEY = "session_key"  # serve: day, era -> key of the sessions that end on it
    COMMIT_KEY = "commit_key"  # serve: name of a start -> key of its commits; null: it has no secret
    DERIVE_CHIP_KEY = "derive_chip_key"  # personalize: chip id, key, hash -> key
    OFFERS = "offers"  # generate: -> [role that the token can hold, …], and "sealing" where it does ECDH
    CHANGE_PIN = "change_pin"  # generate: new PIN -> null
    # generate: key type, common name, origin, [spare's SubjectPublicKeyInfo, …], [name of a key there, …]
    # -> {"csr", "checkpoint_key", "sealed", "master_commitment"}
    GENERATE_KEYS = "generate_keys"
    # generate: origin, [recipient's SubjectPublicKeyInfo, …] -> {"checkpoint_key", "sealed"}
    GENERATE_CHECKPOINT_KEY = "generate_checkpoint_key"
    # reseal: recipient's SubjectPublicKeyInfo, … -> {"sealed", "own": this token's SubjectPublicKeyInfo}
    RESEAL = "reseal"
    # Of a service alone (`keyholder/service/`). Its SIGN_CERTIFICATE takes what the certificate is for, too.
    SHOW_APPROVAL = "show_approval"  # statement, signature, … -> bool: whether anything follows from it here
    SHOW_PRODUCT = "show_product"  # product file -> null
    CLOSE_ORDER = "close_order"  # work order -> null


class Outcome(IntEnum):
    """How an operation ended."""

    DONE = 0
    REFUSED = 1  # the guard said no; the process goes on
    FAILED = 2  # the token failed; the process ends
    WRONG_PIN = 3  # at the login, or at a key that wants the PIN each time; the process ends
    BEGUN = 6  # before the greeting: the process runs, and turns to its token
    FOUND = 10  # the same: it is about to log in to the token of this label and, after a zero, serial number
    UNAVAILABLE = 8  # of a service: not now; the line goes on
    SHARE_USED = 9  # of a service: it has certified as many places of the order as it may
    WRONG_SETTINGS = 4  # no such token or key, or another key: the same settings fail again; the process ends
    # In the greeting alone; the process ends:
    LEFT_ALONE = 7  # the token takes no PIN now, or one try is left: it was not asked
    DAMAGED = 5  # the keys are the right ones, and what they give is no signature


@dataclass(frozen=True, slots=True)
class Setup:
    """The first frame. It carries the PIN, so it is never logged and `repr` does not show it."""

    mode: str
    module: str  # path of the PKCS#11 module
    token: str  # CKA_LABEL of the token, and of its keys
    ca_key: str  # empty where the installation's first one is lost
    checkpoint_key: str
    master_key: str
    sealing_key: str
    checkpoint_key_in: str  # where the key is: "token" or "sealed"; "none" beside a further CA key
    master_key_in: str  # the same
    sealed: bytes  # the sealed secrets (docs/formats.md); empty where none is sealed, and in GENERATE
    master_commitment: bytes  # empty unless the master key is sealed
    certificate: bytes  # the sub-CA's, DER; empty unless the mode is SERVE
    vkey: str  # the log's verifier key; empty unless the mode is SERVE or RESEAL, with a checkpoint key
    max_validity_days: int
    allow_no_expiry: bool
    pin: bytes

    def __repr__(self) -> str:
        return f"Setup(mode={self.mode!r}, token={self.token!r})"


def frame(item: object) -> bytes:
    """One frame. Raises ProtocolError if the item is too large."""
    body = cbor2.dumps(item)
    if len(body) > MAX_FRAME:
        raise ProtocolError(f"{len(body)} bytes do not fit a frame")
    return _LENGTH.pack(len(body)) + body


def setup_frame(setup: Setup) -> bytes:
    """The first frame."""
    return frame(asdict(setup))


def read_setup(item: object) -> Setup:
    """Raises ProtocolError unless every field is there, of its type, and no other."""
    if not isinstance(item, dict) or set(item) != {field.name for field in fields(Setup)}:
        raise ProtocolError("not a setup")
    for field in fields(Setup):
        if type(item[field.name]).__name__ != field.type:
            raise ProtocolError(f"setup: {field.name} is not of type {field.type}")
    return Setup(**item)


def hello_frame(named: bytes) -> bytes:
    """The first frame to a service: which key is asked for, by the SHA-256 of its issuer's certificate, or of
    the log's verifier key."""
    return frame({"form": SERVICE_FORM, "key": named})


def read_hello(item: object) -> bytes:
    """Which key is asked for. Raises ProtocolError unless it is a frame of `hello_frame`."""
    match item:
        case {"form": int(form), "key": bytes(named), **rest} if not rest:
            if form != SERVICE_FORM:
                raise ProtocolError(f"form {form} of the service's protocol, and not {SERVICE_FORM}")
            return named
        case _:
            raise ProtocolError("not a hello")


def read_request(item: object) -> tuple[int, str, list[object]]:
    """`(number, operation, arguments)`."""
    if not isinstance(item, list) or len(item) < 2:
        raise ProtocolError("not a request")
    number, operation = item[0], item[1]
    if type(number) is not int or not 0 <= number < MAX_NUMBER or not isinstance(operation, str):
        raise ProtocolError("not a request")
    return number, operation, item[2:]


def read_answer(item: object) -> tuple[int, Outcome, object]:
    """`(number, outcome, value)`."""
    if not isinstance(item, list) or len(item) != 3 or type(item[0]) is not int:
        raise ProtocolError("not an answer")
    return item[0], _outcome(item[1]), item[2]


def read_greeting(item: object) -> tuple[Outcome, str]:
    """`(outcome, text)`: the first answer."""
    if not isinstance(item, list) or len(item) != 2 or not isinstance(item[1], str):
        raise ProtocolError("not a greeting")
    return _outcome(item[0]), item[1]


def _outcome(value: object) -> Outcome:
    try:
        return Outcome(value)  # type: ignore[arg-type] # any other value is a ValueError
    except ValueError as error:
        raise ProtocolError("no such outcome") from error


class FrameReader:
    """Cuts a stream of bytes into items."""

    def __init__(self, *, report: bool = False) -> None:
        """`report`: they hold what a probe tells, floats among it, and up to `_MAX_REPORT_ITEMS`."""
        self._buffer = bytearray()
        self._report = report

    def feed(self, data: bytes) -> list[object]:
        """The items that are complete now. Raises ProtocolError; the reader is of no use afterwards."""
        self._buffer += data
        items: list[object] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > MAX_FRAME:
                raise ProtocolError(f"a frame of {length} bytes")
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            items.append(_item(bytes(self._buffer[start + _LENGTH.size : end]), report=self._report))
            start = end
        del self._buffer[:start]
        return items


def _item(body: bytes, *, report: bool) -> object:
    _demand_plain(body, report=report)
    try:
        item: object = cbor2.loads(body, max_depth=_MAX_DEPTH, allow_duplicate_keys=False)
    except (cbor2.CBORError, ValueError, TypeError, RecursionError) as error:
        raise ProtocolError("a frame holds no CBOR item") from error
    return item


def _demand_plain(body: bytes, *, report: bool) -> None:
    """Looks at the heads of all items before one of them is made. A decoder believes lengths and tags: small
    arrays would take a hundred times the frame's size, and a tag may stand for work without end.

    Raises:
        ProtocolError: there are too many items, a float or a tag, or it is not one item that fills the frame.
    """
    at, count, wanted = 0, 0, 1
    most = _MAX_REPORT_ITEMS if report else _MAX_ITEMS
    while wanted:
        if at >= len(body) or count == most or wanted > most:
            raise ProtocolError("a frame holds no CBOR item, or too many")
        kind, value = body[at] >> 5, body[at] & 31
        at += 1
        if value >= 24:
            octets = 1 << (value - 24)
            if octets > 8:
                raise ProtocolError("a frame holds an item without a length")
            if kind == _SIMPLE and (not report or octets == 1):
                raise ProtocolError("a frame holds a float")
            value, at = int.from_bytes(body[at : at + octets], "big"), at + octets
            if kind == _SIMPLE:  # a float, all of it
                value = _NULL
        if (kind == _TAG and value != _BIGNUM) or (kind == _SIMPLE and value not in _BOOLEANS_AND_NULL):
            raise ProtocolError("a frame holds a tag, or another value than true, false and null")
        at += value if kind in (_BYTES, _TEXT) else 0
        wanted += {_ARRAY: value, _MAP: 2 * value, _TAG: 1}.get(kind, 0) - 1
        count += 1
    if at != len(body):
        raise ProtocolError("a frame holds more or less than one CBOR item")
