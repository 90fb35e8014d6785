"""An S3 server that nobody here wrote (moto's), in a process of its own, with one bucket.

It takes any key: what servers say of wrong ones comes from `paper_bucket`, and signatures are held against
botocore's (`test_aws_signature.py`).
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from signerd.adapters.tiles import TilesBucket
from signerd.adapters.tiles.bucket_line import BucketLine
from signerd.config import BucketSettings

SECRET = b"secret/of+the+bucket"
_SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@dataclass
class S3Server:
    """Until it is left."""

    name: str = "tiles"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            (sys.executable, "-c", _SERVE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self._client.create_bucket(Bucket=self.name)
        return self

    def __exit__(self, *_of: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def _client(self) -> Any:
        import boto3  # noqa: PLC0415 -- slow to import

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Keys without the prefix, and contents, read without our own code."""
        client = self._client
        found: dict[str, bytes] = {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
            for each in page.get("Contents", ()):
                body = client.get_object(Bucket=self.name, Key=each["Key"])["Body"]
                found[each["Key"].removeprefix(prefix)] = body.read()
        return found

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=key, Body=data)

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self.name, Key=key)

    def into(self, folder: Path, prefix: str = "") -> Path:
        """As a reader that copies all."""
        for key, data in self.objects(prefix).items():
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(data)
        return folder

    def settings(self, **other: str) -> BucketSettings:
        return BucketSettings.model_validate(
            {"endpoint": self.endpoint, "name": self.name, "access_key": "AKIATEST", "secret": "file:none"}
            | other
        )

    def bucket(self, **other: str) -> TilesBucket:
        return TilesBucket(BucketLine(self.settings(**other), lambda: SECRET))
