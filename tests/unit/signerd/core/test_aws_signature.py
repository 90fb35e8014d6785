"""Signatures of requests, against botocore and against AWS's own example."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from signerd.core.aws_signature import BucketCredentials, BucketRequest, signed

# Amazon S3 API Reference, "Signature Calculations for the Authorization Header", "Example: GET Object".
EXAMPLE_KEY = BucketCredentials("AKIAIOSFODNN7EXAMPLE", b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
EXAMPLE_TIME = datetime(2013, 5, 24, tzinfo=UTC)


def test_the_example_of_aws() -> None:
    request = BucketRequest(
        "GET", "examplebucket.s3.amazonaws.com", "/test.txt", headers={"Range": "bytes=0-9"}
    )
    assert signed(request, EXAMPLE_KEY, "us-east-1", EXAMPLE_TIME)["authorization"].endswith(
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


@pytest.mark.parametrize(
    "request_",
    [
        BucketRequest("GET", "s3.example", "/tiles/line-1/checkpoint"),
        BucketRequest("PUT", "s3.example:9000", "/tiles/tile/0/x001/234.p/7", body=bytes(range(256))),
        BucketRequest("GET", "s3.example", "/tiles/", {"prefix": "a/tile/0/000.p/", "list-type": "2"}),
        BucketRequest("DELETE", "[::1]:9000", "/tiles/a b+c~d"),
    ],
)
def test_as_botocore_signs(request_: BucketRequest) -> None:
    ours = signed(request_, EXAMPLE_KEY, "eu-central-1", EXAMPLE_TIME)
    theirs = AWSRequest(request_.method, f"https://{request_.host}{request_.target}", data=request_.body)
    theirs.context["payload_signing_enabled"] = True
    credentials = Credentials(EXAMPLE_KEY.access_key, EXAMPLE_KEY.secret.decode())
    with mock.patch("botocore.auth.get_current_datetime", return_value=EXAMPLE_TIME.replace(tzinfo=None)):
        S3SigV4Auth(credentials, "s3", "eu-central-1").add_auth(theirs)
    assert (
        ours["authorization"].rpartition("Signature=")[2]
        == theirs.headers["Authorization"].rpartition("Signature=")[2]
    )


def test_the_secret_is_not_shown() -> None:
    assert "EXAMPLEKEY" not in repr(EXAMPLE_KEY)
