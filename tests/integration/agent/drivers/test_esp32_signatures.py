"""espsecure's check of images, in a process of its own as the worker runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from agent.core.esp_image import parse_image, signing_key_digest
from boards.esp32.images import app_image, bootloader_image
from boards.esp32.signing import SigningKey

REPOSITORY = Path(__file__).parents[4]
# espsecure prints what it does: the answer is the last line.
PROGRAM = """
import json, sys
from pathlib import Path
from agent.adapters.drivers.esp32.gpl.signatures import SignatureRefusedError, check
asked = json.load(sys.stdin)
try:
    check([(n, Path(p)) for n, p in asked["images"]], asked["pem"], bytes.fromhex(asked["digest"]))
    print("\\n" + json.dumps({}))
except SignatureRefusedError as error:
    print("\\n" + json.dumps({"image": error.image, "detail": error.detail}))
"""


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.make(tmp_path_factory.mktemp("company"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.make(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def application(company: SigningKey) -> bytes:
    return company.sign(app_image("esp32", "sensor", "1.4.0", {}, size=6_000))


@pytest.fixture(scope="module")
def bootloader(company: SigningKey) -> bytes:
    return company.sign(bootloader_image("esp32", 3, {}, size=4_000))


def check(
    folder: Path, images: Mapping[str, bytes], key: SigningKey, digest: bytes | None = None
) -> dict[str, Any]:
    paths = []
    for name, content in images.items():
        path = folder / f"{name}.bin"
        path.write_bytes(content)
        paths.append((name, str(path)))
    return ask(folder, paths, key.public_pem, key.digest if digest is None else digest)


def ask(folder: Path, paths: list[tuple[str, str]], pem: str, digest: bytes) -> dict[str, Any]:
    asked = {"images": paths, "pem": pem, "digest": digest.hex()}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(asked),
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(answer, dict)
    return answer


def test_images_signed_with_the_key_pass(
    tmp_path: Path, company: SigningKey, application: bytes, bootloader: bytes
) -> None:
    assert check(tmp_path, {"bootloader": bootloader, "application": application}, company) == {}


def test_a_block_of_a_second_key_beside_the_companys_does_no_harm(
    tmp_path: Path, company: SigningKey, other: SigningKey, application: bytes
) -> None:
    both = signed_twice(tmp_path, other, company, application)
    assert parse_image(both).signing_keys == (other.digest, company.digest)
    assert check(tmp_path, {"application": both}, company) == {}


def test_an_image_without_signature_is_refused(
    tmp_path: Path, company: SigningKey, bootloader: bytes
) -> None:
    unsigned = app_image("esp32", "sensor", "1.4.0", {}, size=6_000)
    answer = check(tmp_path, {"bootloader": bootloader, "application": unsigned}, company)
    assert answer == {"image": "application", "detail": "is not signed for secure boot v2"}


def test_an_image_signed_with_another_companys_key_is_refused(
    tmp_path: Path, company: SigningKey, other: SigningKey, bootloader: bytes
) -> None:
    theirs = other.sign(app_image("esp32", "sensor", "1.4.0", {}, size=6_000))
    answer = check(tmp_path, {"bootloader": bootloader, "application": theirs}, company)
    assert answer == {"image": "application", "detail": "is signed for secure boot v2 with another key"}


@pytest.mark.parametrize("part", ["content", "padding", "signature"])
def test_an_image_with_one_byte_changed_is_refused(
    tmp_path: Path, company: SigningKey, application: bytes, part: str
) -> None:
    # Its own checksum and digest made right again, or bytes that these do not cover.
    altered = {
        "content": with_another_version(application),
        "padding": with_byte_changed(application, len(application) - 4096 - 1),
        "signature": with_block_crc(with_byte_changed(application, len(application) - 4096 + 812 + 5)),
    }[part]
    answer = check(tmp_path, {"application": altered}, company)
    assert answer["image"] == "application"
    assert ("signature is wrong" if part != "padding" else "neither FF nor") in answer["detail"]


def test_the_signature_of_another_image_is_refused(
    tmp_path: Path, company: SigningKey, application: bytes, bootloader: bytes
) -> None:
    answer = check(tmp_path, {"application": application[:-4096] + bootloader[-4096:]}, company)
    assert answer["image"] == "application"
    assert "signature is wrong" in answer["detail"]


def test_a_block_that_names_the_companys_key_beside_its_true_signature_is_refused(
    tmp_path: Path, company: SigningKey, other: SigningKey, application: bytes
) -> None:
    """The chip takes the key from the block: a true signature in a block of another key starts nothing."""
    both = bytearray(signed_twice(tmp_path, other, company, application))
    first, second = len(both) - 4096, len(both) - 4096 + 1216
    both[first + 812 : first + 1196], both[second + 812 : second + 1196] = (
        both[second + 812 : second + 1196],
        both[first + 812 : first + 1196],
    )
    swapped = with_block_crc(with_block_crc(bytes(both)), 1)
    answer = check(tmp_path, {"application": swapped}, company)
    assert answer["image"] == "application"
    assert "signature is wrong" in answer["detail"]


def test_a_digest_of_another_key_is_refused(
    tmp_path: Path, company: SigningKey, other: SigningKey, application: bytes
) -> None:
    answer = check(tmp_path, {"application": application}, company, other.digest)
    assert answer == {"image": "", "detail": "the secure boot key has another digest than the bundle says"}


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, company: SigningKey) -> None:
    gone = [("application", str(tmp_path / "gone.bin"))]
    assert ask(tmp_path, gone, company.public_pem, company.digest)["image"] == "application"


def test_a_p256_key_signs_as_well(tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "p256.pem"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    signed = SigningKey(path).sign(app_image("esp32c6", "sensor", "1.4.0", {}, size=6_000))
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    digest = signing_key_digest(pem)
    assert parse_image(signed).signing_keys == (digest,)
    image = tmp_path / "application.bin"
    image.write_bytes(signed)
    assert ask(tmp_path, [("application", str(image))], pem.decode(), digest) == {}


def test_our_digest_of_a_key_is_espsecures(tmp_path: Path, company: SigningKey) -> None:
    output = tmp_path / "digest.bin"
    command = ["digest-sbv2-public-key", "--keyfile", str(company.path), "--output", str(output)]
    subprocess.run(
        [sys.executable, "-m", "espsecure", *command], cwd=tmp_path, capture_output=True, check=True
    )
    assert signing_key_digest(company.public_pem.encode()) == output.read_bytes()


def signed_twice(folder: Path, first: SigningKey, second: SigningKey, signed: bytes) -> bytes:
    plain, both = folder / "plain.bin", folder / "both.bin"
    plain.write_bytes(signed[:-4096])
    keys = ["--keyfile", str(first.path), "--keyfile", str(second.path)]
    command = ["sign-data", "--version", "2", *keys, "--output", str(both), str(plain)]
    subprocess.run([sys.executable, "-m", "espsecure", *command], cwd=folder, capture_output=True, check=True)
    return both.read_bytes()


def with_byte_changed(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def with_another_version(signed: bytes) -> bytes:
    """Another image of the same length, whole in itself, under the old signature."""
    image = app_image("esp32", "sensor", "1.4.1", {}, size=6_000)
    padded = image + b"\xff" * (-len(image) % 4096)
    assert len(padded) == len(signed) - 4096
    return padded + signed[-4096:]


def with_block_crc(signed: bytes, number: int = 0) -> bytes:
    """The CRC of that signature block made right again."""
    begin = len(signed) - 4096 + number * 1216
    crc = zlib.crc32(signed[begin : begin + 1196]).to_bytes(4, "little")
    return signed[: begin + 1196] + crc + signed[begin + 1200 :]
