"""What a witness answers (C2SP `tlog-witness`, "add-checkpoint"), of the request and the last tree that it
saw.

Guarantees that only a checkpoint that the log's key signed, and that continues the one that was cosigned
last, passes. The checks have the order of the specification; each refusal names its HTTP status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus

from birthmark.proof import Checkpoint, ProofError, Reason, VerifierKey, open_checkpoint, verify_consistency
from birthmark.proof.note import parse_note
from birthmark.proof.spelling import decode_hash, parse_decimal

MAX_REQUEST = 65_536  # bytes; one of 63 hashes and 16 signatures has some 8,000
MAX_PROOF = 63  # hashes, of tlog-witness
SIZE_TYPE = "text/x.tlog.size"
_EMPTY = sha256().digest()


class NotCosigned(Exception):  # noqa: N818 -- an answer
    """The answer that is no cosignature.

    `told`: what the witness's operator is told of it. "fork": the log signed another tree of the size that
    was cosigned. "unproven": it signed this one, and whoever sent it may have altered the proof.
    """

    def __init__(self, status: HTTPStatus, detail: str, *, size: int | None = None, told: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.size = size  # of the last tree that was cosigned, where that is the answer
        self.told = told


@dataclass(frozen=True, slots=True)
class Request:
    """An `add-checkpoint`, taken apart. Nothing of it may be believed."""

    old_size: int
    proof: tuple[bytes, ...]
    origin: str
    note: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """The last tree of a log that this witness cosigned; size 0: none."""

    size: int
    root: bytes


def parse_request(body: bytes) -> Request:
    """Takes a request apart. Raises NotCosigned, 400."""
    head, separator, note = body.partition(b"\n\n")
    try:
        first, *hashes = head.decode("ascii").split("\n")
        if not separator or not first.startswith("old ") or len(hashes) > MAX_PROOF:
            raise NotCosigned(HTTPStatus.BAD_REQUEST, "no request of tlog-witness")
        old_size = parse_decimal(first.removeprefix("old "))
        proof = tuple(map(decode_hash, hashes))
        origin = parse_note(note).text.partition("\n")[0]
    except (UnicodeDecodeError, ProofError) as error:
        raise NotCosigned(HTTPStatus.BAD_REQUEST, str(error)) from error
    return Request(old_size, proof, origin, note)


def signed_checkpoint(request: Request, logs: Mapping[str, Sequence[VerifierKey]]) -> Checkpoint:
    """The checkpoint, whose log is known and has signed it. Raises NotCosigned: 404, 403, 400."""
    keys = logs.get(request.origin)
    if not keys:
        raise NotCosigned(HTTPStatus.NOT_FOUND, "this log is not known here")
    try:
        return open_checkpoint(request.note, keys)
    except ProofError as error:
        malformed = error.reason is Reason.MALFORMED
        raise NotCosigned(
            HTTPStatus.BAD_REQUEST if malformed else HTTPStatus.FORBIDDEN, str(error)
        ) from error


def judge(request: Request, checkpoint: Checkpoint, kept: Kept) -> None:
    """Returns if this witness may cosign the checkpoint.

    Raises:
        NotCosigned: 400, 409 or 422.
    """
    if request.old_size > checkpoint.size:
        raise NotCosigned(HTTPStatus.BAD_REQUEST, "the old size is larger than the checkpoint's")
    if request.old_size != kept.size:
        raise NotCosigned(HTTPStatus.CONFLICT, "another size was cosigned last", size=kept.size)
    if kept.size == 0:
        if request.proof:
            raise NotCosigned(HTTPStatus.UNPROCESSABLE_ENTITY, "there is no proof from size 0")
        if checkpoint.size == 0 and checkpoint.root != _EMPTY:
            raise NotCosigned(HTTPStatus.UNPROCESSABLE_ENTITY, "an empty tree has another root", told="fork")
        return
    if checkpoint.size == kept.size and checkpoint.root != kept.root:
        raise NotCosigned(HTTPStatus.CONFLICT, f"two trees of {kept.size} entries", told="fork")
    try:
        verify_consistency(
            old_size=kept.size,
            old_root=kept.root,
            new_size=checkpoint.size,
            new_root=checkpoint.root,
            proof=request.proof,
        )
    except ProofError as error:
        raise NotCosigned(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), told="unproven") from error
