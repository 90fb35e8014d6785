"""`check-config` about a bucket: each thing that is wrong at the desk has a code and a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.paper_bucket import PaperBucket, answered, refused
from harness.s3_server import S3Server
from signerd.adapters.checks import _bucket
from signerd.config import BucketSettings, Config, PublicationSettings
from signerd.errors import ConfigError, NotNow

SETTINGS = {"name": "tiles", "access_key": "AKIATEST", "secret": "file:secret"}


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"of-the-bucket\n")
    (tmp_path / "secret").chmod(0o400)
    return tmp_path


def config(**settings: str) -> Config:
    bucket = BucketSettings.model_validate(SETTINGS | settings)
    return Config.model_construct(publication=PublicationSettings(bucket=bucket))


@pytest.mark.check
def test_a_bucket_that_takes_tiles(server: S3Server, base: Path) -> None:
    said = _bucket(config(endpoint=server.endpoint, prefix="a/"), base)
    assert said == f"{server.endpoint}/tiles/a/ is empty"
    assert server.objects() == {}


@pytest.mark.check
def test_another_name(server: S3Server, base: Path) -> None:
    with pytest.raises(ConfigError, match=r"bucket_missing: .*publication.bucket.name") as caught:
        _bucket(config(endpoint=server.endpoint, name="others"), base)
    assert not isinstance(caught.value, NotNow)


@pytest.mark.parametrize(
    ("said", "code", "remedy", "passes"),
    [
        ("InvalidAccessKeyId", "bucket_key", "publication.bucket.access_key", False),
        ("RequestTimeTooSkewed", "bucket_clock", "timedatectl", False),
        ("AccessDenied", "bucket_denied", "s3:ListBucket", False),
        ("SlowDown", "bucket_busy", "tries again", True),
    ],
)
def test_what_the_server_says(base: Path, said: str, code: str, remedy: str, *, passes: bool) -> None:
    with PaperBucket(refused(403, said)) as paper, pytest.raises(ConfigError) as caught:
        _bucket(config(endpoint=paper.endpoint), base)
    assert code in str(caught.value)
    assert remedy in str(caught.value)
    assert isinstance(caught.value, NotNow) is passes


def test_no_server_and_no_tls(base: Path) -> None:
    with pytest.raises(NotNow, match=r"bucket_unreachable: .*publication.bucket.endpoint"):
        _bucket(config(endpoint="http://127.0.0.1:9"), base)
    with PaperBucket(answered(200, b"")) as paper, pytest.raises(ConfigError, match="bucket_tls"):
        _bucket(config(endpoint=paper.endpoint.replace("http://", "https://")), base)


def test_a_secret_that_others_may_read(base: Path) -> None:
    (base / "secret").chmod(0o444)
    with pytest.raises(ConfigError, match=r"bucket_secret: the bucket's secret file .* must have mode 0400"):
        _bucket(config(endpoint="http://127.0.0.1:9"), base)


@pytest.mark.check
def test_a_credential_of_the_service(server: S3Server, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = config(endpoint=server.endpoint, secret="credential:secret")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert _bucket(named, base).startswith("NOT TRIED: signerd's service alone has the credential secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(base))
    assert _bucket(named, base).endswith(" is empty")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("endpoint", "http://s3.example"),
        ("endpoint", "https://s3.example/path"),
        ("endpoint", "https://name:word@s3.example"),
        ("name", "UPPER"),
        ("prefix", "no-slash"),
        ("prefix", "../"),
        ("secret", "the-secret-itself"),
        ("access_key", "a/b"),
        ("region", "eu central"),
    ],
)
def test_settings_that_are_refused(key: str, value: str) -> None:
    good = SETTINGS | {"endpoint": "https://s3.example"}
    BucketSettings.model_validate(good)
    with pytest.raises(ValidationError):
        BucketSettings.model_validate(good | {key: value})
