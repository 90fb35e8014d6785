"""Signature Version 4 of AWS, as servers of S3 demand it of each request.

The signature is over method, host, path, query, headers and the digest of the body, with the time and region
in it. The secret never leaves this machine: the server knows it too, and compares.

    headers = signed(request, credentials, now)

Follows "Create a signed AWS API request" (AWS, Signature Version 4), for the service `s3`: there a path is
percent-encoded once.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "s3"


@dataclass(frozen=True, slots=True)
class BucketCredentials:
    """An access key and its secret."""

    access_key: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class BucketRequest:
    """One request, before it is signed."""

    method: str
    host: str  # with the port, where it is not the scheme's own
    path: str  # as it is named, not encoded; begins with /
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # those that are to be signed too
    body: bytes = b""

    @property
    def target(self) -> str:
        """Path and query as they are sent."""
        return _encoded_path(self.path) + (f"?{_encoded_query(self.query)}" if self.query else "")


def signed(
    request: BucketRequest, credentials: BucketCredentials, region: str, now: datetime
) -> dict[str, str]:
    """The headers to send. `now` is aware; a server takes some minutes of difference."""
    moment = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(request.body).hexdigest()
    headers = {
        **{name.lower(): value for name, value in request.headers.items()},
        "host": request.host,
        "x-amz-content-sha256": digest,
        "x-amz-date": moment,
    }
    names = sorted(headers)
    signed_names = ";".join(names)
    canonical = "\n".join(
        (
            request.method,
            _encoded_path(request.path),
            _encoded_query(request.query),
            *(f"{name}:{' '.join(headers[name].split())}" for name in names),
            "",
            signed_names,
            digest,
        )
    )
    scope = f"{moment[:8]}/{region}/{_SERVICE}/aws4_request"
    text = "\n".join((_ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = b"AWS4" + credentials.secret
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope},SignedHeaders={signed_names},"
        f"Signature={signature}"
    )
    return headers


def _encoded_path(path: str) -> str:
    return quote(path, safe="/-_.~")


def _encoded_query(query: Mapping[str, str]) -> str:
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)
