"""A real signerd with a bucket in its settings, killed and started again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.installation import Installation
from harness.process import wait_until
from harness.read_tiles import checked
from harness.s3_server import S3Server

SECRET = "the-secret-of-the-bucket"


def size_in(server: S3Server) -> int:
    return int(server.objects().get("line/checkpoint", b"\n0\n").split(b"\n")[1])


def holds(server: S3Server, size: int) -> Callable[[], bool]:
    return lambda: size_in(server) >= size


@pytest.mark.check
def test_the_bucket_of_a_running_signerd(tmp_path: Path) -> None:
    with S3Server() as server, Installation(tmp_path / "made") as installation:
        secret = installation.config.parent / "bucket-secret"
        secret.write_text(SECRET)
        secret.chmod(0o400)
        with installation.config.open("a", encoding="utf-8") as file:
            file.write(
                f'\n[publication.bucket]\nendpoint = "{server.endpoint}"\nname = "tiles"\nprefix = "line/"\n'
                'access_key = "AKIATEST"\nsecret = "file:bucket-secret"\n'
            )
        said = json.loads(installation.admin("check-config", "--json"))
        (found,) = [each for each in said["checks"] if each["name"] == "bucket takes tiles"]
        assert found == {
            "name": "bucket takes tiles",
            "passed": True,
            "said": f"{server.endpoint}/tiles/line/ is empty",
        }
        program = installation.start_signerd()
        wait_until(holds(server, 1), "the bucket", program=program)
        program.kill()
        installation.start_signerd()
        installation.add_station("plant1", "pc1")
        wait_until(holds(server, 3), "the bucket after the kill")
        read = server.into(tmp_path / "read", "line/")
        assert len(checked(read)) == size_in(server)
        logs = [path for path in installation.logs.rglob("*") if path.is_file()]
        assert logs
        assert all(SECRET.encode() not in path.read_bytes() for path in logs)
