"""Signatures of requests, against botocore and against AWS's own example."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

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
    ("request_", "signature"),
    [
        (
            BucketRequest("GET", "s3.example", "/tiles/line-1/checkpoint"),
            "1a9b954af17935cea132953ec9907f483b7ac32f31cd0216ac7bbb8489a4f17a",
        ),
        (
            BucketRequest("PUT", "s3.example:9000", "/tiles/tile/0/x001/234.p/7", body=bytes(range(256))),
            "066abf570ec7b8c0dada589706396f03d367216b17da0f13a1af231e093fa9da",
        ),
        (
            BucketRequest("GET", "s3.example", "/tiles/", {"prefix": "a/tile/0/000.p/", "list-type": "2"}),
            "d0eeb254c7eddd0d7d897be0f40ff2fd77601ffa146f7c8ca73f27dae2d806d1",
        ),
        (
            BucketRequest("DELETE", "[::1]:9000", "/tiles/a b+c~d"),
            "3f6e80d4716d2eccf39306d5f4d2c1a5f90bc36b2b8ba665ff414334b1ddaba4",
        ),
    ],
)
def test_as_botocore_signs(request_: BucketRequest, signature: str) -> None:
    """`S3SigV4Auth` of botocore 1.44.8, with the payload signed."""
    ours = signed(request_, EXAMPLE_KEY, "eu-central-1", EXAMPLE_TIME)
    assert ours["authorization"].rpartition("Signature=")[2] == signature


def test_the_secret_is_not_shown() -> None:
    assert "EXAMPLEKEY" not in repr(EXAMPLE_KEY)
