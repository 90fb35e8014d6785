"""An S3 server that answers wrongly, or is not the one: what signerd says of it, and what it leaves."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler

import pytest

from harness.paper_bucket import Answers, PaperBucket, answered, refused
from signerd.adapters.tiles import TilesBucket
from signerd.adapters.tiles.bucket_line import BucketLine, BucketTrouble
from signerd.config import BucketSettings
from signerd.core.bucket_answers import TroubleCode
from signerd.errors import ConfigError

SECRET = b"very-secret"
MISSING = refused(404, "NoSuchKey")


def bucket_at(endpoint: str, read: Callable[[], bytes] = lambda: SECRET) -> TilesBucket:
    settings = BucketSettings(endpoint=endpoint, name="tiles", access_key="AKIATEST", secret="file:none")
    return TilesBucket(BucketLine(settings, read, lambda: datetime(2026, 12, 1, tzinfo=UTC)))


def tag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def by_method(get: Answers, put: Answers) -> Answers:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        (put if handler.command == "PUT" else get)(handler)

    return answer


def test_an_honest_server() -> None:
    with PaperBucket(by_method(MISSING, answered(200, b"", headers={"ETag": tag(b"data")}))) as paper:
        assert bucket_at(paper.endpoint).put("tile/0/000", b"data") is True
        assert [(method, path) for method, path, _ in paper.asked] == [
            ("GET", "/tiles/tile/0/000"),
            ("PUT", "/tiles/tile/0/000"),
        ]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (refused(404, "NoSuchBucket"), TroubleCode.NO_BUCKET),
        (refused(403, "InvalidAccessKeyId"), TroubleCode.KEY),
        (refused(403, "SignatureDoesNotMatch"), TroubleCode.KEY),
        (refused(403, "RequestTimeTooSkewed"), TroubleCode.CLOCK),
        (refused(403, "AccessDenied"), TroubleCode.DENIED),
        (refused(403), TroubleCode.DENIED),
        (refused(301, "PermanentRedirect", Location="http://127.0.0.1:9/"), TroubleCode.ELSEWHERE),
        (refused(307, "", Location="http://127.0.0.1:9/"), TroubleCode.ELSEWHERE),
        (refused(400, "AuthorizationHeaderMalformed"), TroubleCode.ELSEWHERE),
        (refused(503, "SlowDown"), TroubleCode.BUSY),
        (refused(500), TroubleCode.BUSY),
        (refused(429), TroubleCode.BUSY),
        (refused(400, "Anything"), TroubleCode.ANSWER),
        (answered(404, b"<Error><Code>" + b"A" * 70_000), None),
        (answered(403, b"\x00\xff<Code>\x1b[2J</Code>"), TroubleCode.DENIED),
        (answered(200, b"cut", length=9_000), TroubleCode.UNREACHABLE),
        (lambda handler: handler.wfile.write(b"\x00" * 70_000), TroubleCode.UNREACHABLE),
        (lambda handler: setattr(handler, "close_connection", True), TroubleCode.UNREACHABLE),
        (
            lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200),
            TroubleCode.UNREACHABLE,
        ),
    ],
)
def test_answers_that_are_no_good(answer: Answers, code: TroubleCode | None) -> None:
    with PaperBucket(answer) as paper:
        bucket = bucket_at(paper.endpoint)
        if code is None:
            assert bucket.note() is None
            return
        with pytest.raises(BucketTrouble) as caught:
            bucket.note()
        assert caught.value.trouble.code is code
        assert code in caught.value.detail
        assert caught.value.detail.isprintable()
        assert SECRET.decode() not in caught.value.detail


def test_no_redirect_is_followed() -> None:
    with PaperBucket(answered(200, b"stolen")) as other, PaperBucket(MISSING) as paper:
        bucket = bucket_at(paper.endpoint)
        assert bucket.note() is None
        paper.answer = refused(307, "", Location=f"{other.endpoint}/tiles/checkpoint")
        with pytest.raises(BucketTrouble, match="No redirect is followed"):
            bucket.note()
        assert (len(paper.asked), other.asked) == (2, [])


@pytest.mark.parametrize("size", [65_537, 20_000_000])
def test_a_checkpoint_without_an_end_is_nobodys(size: int) -> None:
    with PaperBucket(answered(200, bytes(size))) as paper, pytest.raises(BucketTrouble) as caught:
        bucket_at(paper.endpoint).note()
    assert caught.value.trouble.code is TroubleCode.OTHER_LOG


def test_other_bytes_than_were_sent() -> None:
    with PaperBucket(by_method(MISSING, answered(200, b"", headers={"ETag": tag(b"dat4")}))) as paper:
        with pytest.raises(BucketTrouble, match="the server stored other bytes"):
            bucket_at(paper.endpoint).put("tile/0/000", b"data")
        for tagged in (
            answered(200, b"", headers={"ETag": '"0-7"'}),
            answered(200, b"", headers={"ETag": tag(b"x"), "x-amz-server-side-encryption": "aws:kms"}),
        ):
            paper.answer = by_method(MISSING, tagged)  # no digest of the content
            assert bucket_at(paper.endpoint).put("tile/0/000", b"data")


def test_a_server_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signerd.adapters.tiles.bucket_line.DEADLINE_S", 0.3)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(1_000):
            handler.wfile.write(b"x")
            time.sleep(0.01)

    with PaperBucket(drip) as paper:
        began = time.monotonic()
        with pytest.raises(BucketTrouble, match=r"no answer in 0.3 s"):
            bucket_at(paper.endpoint).note()
        assert time.monotonic() - began < 5


def test_what_is_cut_asks_nothing_more() -> None:
    with PaperBucket(MISSING) as paper:
        bucket = bucket_at(paper.endpoint)
        bucket.note()
        bucket.cut()
        with pytest.raises(BucketTrouble):
            bucket.note()
        assert len(paper.asked) == 1


def test_a_list_of_anything() -> None:
    keys = ("tile/0/000.p/7", "tile/0/000.p/007", "tile/0/000.p/256", "tile/0/000.p/../../x", "other", "")
    listed = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys).encode()
    with PaperBucket(answered(200, listed + b"<!ENTITY a '&a;&a;'>")) as paper:
        assert list(bucket_at(paper.endpoint).partials("tile/0/000")) == [7]


def test_a_secret_that_is_not_there_asks_nobody() -> None:
    def no_secret() -> bytes:
        raise ConfigError("there is no credential")

    with PaperBucket(MISSING) as paper:
        with pytest.raises(BucketTrouble, match="bucket_secret: there is no credential"):
            bucket_at(paper.endpoint, no_secret).note()
        assert paper.asked == []


def test_the_secret_is_read_anew_after_it_was_refused() -> None:
    secrets = [b"old", b"new"]
    with PaperBucket(refused(403, "SignatureDoesNotMatch")) as paper:
        bucket = bucket_at(paper.endpoint, lambda: secrets.pop(0))
        with pytest.raises(BucketTrouble):
            bucket.note()
        paper.answer = MISSING
        assert bucket.note() is None
        assert secrets == []
