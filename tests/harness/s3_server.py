"""An S3 server that nobody here wrote (moto's), in a process of its own, with one bucket.

It is installed once and kept, in an environment of its own (`requirements/s3.txt`): `python -m
harness.s3_server` does that ahead. Its bucket is read and
changed with boto3, in that process. It takes any key: servers that refuse are played by `paper_bucket`, and
signatures are held against botocore's (`test_aws_signature.py`).
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from harness.process import REPOSITORY
from signerd.adapters.tiles import TilesBucket
from signerd.adapters.tiles.bucket_line import BucketLine
from signerd.config import BucketSettings

SECRET = b"secret/of+the+bucket"
_KEPT = Path.home() / ".cache" / "birthmark" / "s3"
_LOCK = REPOSITORY / "requirements" / "s3.txt"
_INSTALL_S = 300
_SERVE = """
import base64, json, sys
import boto3
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
port = server.get_host_and_port()[1]
client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
                      aws_access_key_id="any", aws_secret_access_key="any")
name = sys.argv[1]
client.create_bucket(Bucket=name)
print(port, flush=True)
for line in sys.stdin:
    asked, said = json.loads(line), {}
    if asked["do"] == "put":
        client.put_object(Bucket=name, Key=asked["key"], Body=base64.b64decode(asked["data"]))
    elif asked["do"] == "delete":
        client.delete_object(Bucket=name, Key=asked["key"])
    else:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=asked["key"]):
            for each in page.get("Contents", ()):
                body = client.get_object(Bucket=name, Key=each["Key"])["Body"].read()
                said[each["Key"]] = base64.b64encode(body).decode()
    print(json.dumps(said), flush=True)
"""


def _python() -> Path:
    """Of the environment with moto, made where there is none of these versions."""
    digest = hashlib.sha256(_LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    made = _KEPT / digest
    _KEPT.mkdir(parents=True, exist_ok=True)
    with (_KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers may want it at once
        if not (made / "whole").exists():
            venv.create(made, with_pip=True, clear=True)
            done = subprocess.run(
                (
                    *(made / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"),
                    *("install", "--require-hashes", "--only-binary", ":all:", "-r", _LOCK),
                ),
                capture_output=True,
                text=True,
                timeout=_INSTALL_S,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            (made / "whole").touch()
    return made / "bin" / "python"


@dataclass
class S3Server:
    """Until it is left."""

    name: str = "tiles"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            (_python(), "-c", _SERVE, self.name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_of: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Keys without the prefix, and contents."""
        found = self._asked("objects", prefix)
        return {key.removeprefix(prefix): base64.b64decode(data) for key, data in found.items()}

    def put(self, key: str, data: bytes) -> None:
        self._asked("put", key, data=base64.b64encode(data).decode())

    def delete(self, key: str) -> None:
        self._asked("delete", key)

    def into(self, folder: Path, prefix: str = "") -> Path:
        """As a reader that copies all."""
        for key, data in self.objects(prefix).items():
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(data)
        return folder

    def settings(self, **other: str) -> BucketSettings:
        ours = {"endpoint": self.endpoint, "name": self.name, "access_key": "AKIATEST", "secret": "file:none"}
        return BucketSettings.model_validate(ours | other)

    def bucket(self, **other: str) -> TilesBucket:
        return TilesBucket(BucketLine(self.settings(**other), lambda: SECRET))

    def _asked(self, do: str, key: str, **more: str) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"do": do, "key": key, **more}) + "\n")
        process.stdin.flush()
        said: dict[str, Any] = json.loads(process.stdout.readline())
        return said


if __name__ == "__main__":
    _python()
