"""What an S3 server says that is not "done": a code of ours, and what to do about it.

Pure: status and body in, `Trouble` out. The body is a stranger's, so a bounded part of it is looked at, and
nothing but a code of letters is taken from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_CODE = re.compile(rb"<Code>([A-Za-z.]{1,64})</Code>")
_LOOKED_AT = 8_192  # bytes of a body


class TroubleCode(StrEnum):
    """Why the bucket does not take or give an object. Shown by `check-config` and in the log."""

    UNREACHABLE = "bucket_unreachable"
    TLS = "bucket_tls"
    NO_BUCKET = "bucket_missing"
    KEY = "bucket_key"
    CLOCK = "bucket_clock"
    DENIED = "bucket_denied"
    ELSEWHERE = "bucket_elsewhere"
    BUSY = "bucket_busy"
    DAMAGED = "bucket_damaged"
    ANSWER = "bucket_answer"
    SECRET = "bucket_secret"  # noqa: S105 -- a code
    OTHER_LOG = "bucket_other_log"


REMEDIES = {
    TroubleCode.UNREACHABLE: "is publication.bucket.endpoint right, and may signerd's machine reach it?",
    TroubleCode.TLS: (
        "set publication.bucket.endpoint to a name that its certificate has; where its CA is private, name"
        " that one's PEM in publication.bucket.ca"
    ),
    TroubleCode.NO_BUCKET: "make it, or set publication.bucket.name",
    TroubleCode.KEY: (
        "set publication.bucket.access_key to a key of this server, and put its secret where"
        " publication.bucket.secret says"
    ),
    TroubleCode.CLOCK: "set this machine's clock: a request is signed with its time (timedatectl)",
    TroubleCode.DENIED: (
        "the key needs s3:GetObject, s3:PutObject and s3:DeleteObject on the objects, and s3:ListBucket on"
        " the bucket"
    ),
    TroubleCode.ELSEWHERE: (
        "it is in another region or at another address: set publication.bucket.endpoint and region. No"
        " redirect is followed"
    ),
    TroubleCode.BUSY: "signerd tries again; where it lasts, ask whoever runs the server",
    TroubleCode.DAMAGED: "signerd writes it again; where it lasts, something between alters what is sent",
    TroubleCode.ANSWER: "is publication.bucket.endpoint that of an S3 server?",
    TroubleCode.SECRET: "put it where publication.bucket.secret says (docs/operations.md)",
    TroubleCode.OTHER_LOG: "name another bucket or prefix in [publication.bucket]; nothing was written",
}

_OF_CODE = {
    b"NoSuchBucket": TroubleCode.NO_BUCKET,
    b"InvalidAccessKeyId": TroubleCode.KEY,
    b"SignatureDoesNotMatch": TroubleCode.KEY,
    b"InvalidClientTokenId": TroubleCode.KEY,
    b"InvalidSecurity": TroubleCode.KEY,
    b"ExpiredToken": TroubleCode.KEY,
    b"RequestTimeTooSkewed": TroubleCode.CLOCK,
    b"RequestExpired": TroubleCode.CLOCK,
    b"AccessDenied": TroubleCode.DENIED,
    b"AllAccessDisabled": TroubleCode.DENIED,
    b"PermanentRedirect": TroubleCode.ELSEWHERE,
    b"TemporaryRedirect": TroubleCode.ELSEWHERE,
    b"AuthorizationHeaderMalformed": TroubleCode.ELSEWHERE,
    b"IllegalLocationConstraintException": TroubleCode.ELSEWHERE,
    b"SlowDown": TroubleCode.BUSY,
    b"ServiceUnavailable": TroubleCode.BUSY,
    b"InternalError": TroubleCode.BUSY,
    b"RequestTimeout": TroubleCode.BUSY,
    b"OperationAborted": TroubleCode.BUSY,
    b"BadDigest": TroubleCode.DAMAGED,
    b"XAmzContentSHA256Mismatch": TroubleCode.DAMAGED,
    b"IncompleteBody": TroubleCode.DAMAGED,
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """One of them."""

    code: TroubleCode
    detail: str  # printable, ours

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}: {REMEDIES[self.code]}"


def trouble_of(status: int, body: bytes) -> Trouble:
    """Of an answer that is neither success nor "there is no such object"."""
    found = _CODE.search(body[:_LOOKED_AT])
    named = found[1] if found is not None else b""
    said = f"HTTP status {status}" + (f" ({named.decode()})" if named else "")
    return Trouble(_OF_CODE.get(named) or _of_status(status), said)


def _of_status(status: int) -> TroubleCode:
    if 300 <= status < 400:
        return TroubleCode.ELSEWHERE
    if status in {401, 403}:
        return TroubleCode.DENIED
    if status in {408, 429} or status >= 500:
        return TroubleCode.BUSY
    return TroubleCode.ANSWER


def no_such_object(status: int, body: bytes) -> bool:
    """Whether it says that the object is not there, in a bucket that is."""
    found = _CODE.search(body[:_LOOKED_AT])
    return status == 404 and (found is None or found[1] == b"NoSuchKey")
