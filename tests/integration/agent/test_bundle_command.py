"""`birthmark-agent bundle`: from the images of a build to the lines of the work order; refusals and codes."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from agent.adapters.cli.app import main
from agent.core.bundle_verify import verify_bundle
from boards.esp32.images import app_image, bootloader_image
from harness.bundle_samples import secure_boot_key, secure_sample, with_signature_sector
from harness.process import COMMANDS, REPOSITORY

EXAMPLE = REPOSITORY / "deploy" / "examples" / "bundle.toml"
KEY = Ed25519PrivateKey.generate()
PASSPHRASE = "correct horse"


@dataclass(frozen=True, slots=True)
class Done:
    out: str
    err: str


class Office:
    """A folder with a build, a description and keys, and the command run in it."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys

    def process(self, *arguments: str, code: int = 0, typed: str = "") -> Done:
        """The command as a process, for what needs one."""
        done = subprocess.run(
            [COMMANDS / "birthmark-agent", "bundle", *arguments],
            cwd=self.folder,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            start_new_session=True,  # without a terminal, so that a passphrase is read from standard input
        )
        assert done.returncode == code, done.stdout + done.stderr
        return Done(done.stdout, done.stderr)

    def run(self, *arguments: str, code: int = 0) -> Done:
        """The command in this process, which is not started forty times."""
        with self._monkeypatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["birthmark-agent", "bundle", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = self._capsys.readouterr()
        assert (ended.value.code or 0) == code, out + err
        return Done(out, err)

    def refuse(self, *arguments: str, code: int) -> str:
        done = self.run(*arguments, code=code)
        assert done.out == ""
        assert done.err.startswith("birthmark-agent: ")
        return done.err

    def path(self, name: str) -> Path:
        return self.folder / name

    def build(self) -> None:
        self.run("build", "bundle.toml", "--out", "x.zip")

    def sign(self) -> None:
        self.build()
        self.run("sign", "x.zip", "--key", "bundle.key")


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Office:
    """The example's own description, and a file of the right kind wherever it names one."""
    text = EXAMPLE.read_text(encoding="utf-8").replace('flash_size = "8MB"', 'flash_size = "4MB"')
    (tmp_path / "bundle.toml").write_text(text, encoding="utf-8")
    files = secure_sample().files
    for image in tomllib.loads(text)["image"]:
        path = tmp_path / image["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[image["role"]])
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "secure-boot.pub.pem").write_text(secure_boot_key())
    pkcs8 = (Encoding.PEM, PrivateFormat.PKCS8)
    (tmp_path / "bundle.key").write_bytes(KEY.private_bytes(*pkcs8, NoEncryption()))
    encrypted = KEY.private_bytes(*pkcs8, BestAvailableEncryption(PASSPHRASE.encode()))
    (tmp_path / "encrypted.key").write_bytes(encrypted)
    for name, key in (("bundle", KEY), ("other", Ed25519PrivateKey.generate())):
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{name}.pub.pem").write_bytes(public)
    return Office(tmp_path, monkeypatch, capsys)


def test_the_example_is_built_signed_verified_and_ordered(office: Office) -> None:
    office.sign()
    assert "signed with this key" in office.run("verify", "x.zip", "--key", "bundle.pub.pem").out
    bundle, _ = verify_bundle(office.path("x.zip").read_bytes(), KEY.public_key())
    verified = json.loads(office.run("verify", "x.zip", "--key", "bundle.pub.pem", "--json").out)
    assert verified == {
        "bundle": "x.zip",
        "digest": bundle.digest.hex(),
        "product": "sensor",
        "version": bundle.manifest.version,
        "chip": "esp32s3",
    }
    order = tomllib.loads(office.run("show", "x.zip", "--order").out)
    app, boot = (bundle.manifest.final_firmware()[name] for name in ("app", "boot"))
    assert app.digest is not None
    assert boot.digest is not None
    assert order["bundle"] == {
        "sha256": bundle.digest.hex(),
        "product": "sensor",
        "chip": "esp32s3",
        "firmware": {"app": ["1.4.0", app.digest.hex()], "boot": ["4", boot.digest.hex()]},
    }
    shown = json.loads(office.run("show", "x.zip", "--json").out)
    assert (shown["digest"], shown["signed"]) == (bundle.digest.hex(), True)
    assert shown["manifest"]["product"] == "sensor"
    assert "1.4.0" in office.run("show", "x.zip").out
    assert stat.S_IMODE(office.path("x.zip").stat().st_mode) & 0o177 == 0o044
    assert not list(office.folder.glob(".x.zip-*"))


def test_show_says_that_a_bundle_is_not_signed(office: Office) -> None:
    office.build()
    assert "NOT SIGNED" in office.run("show", "x.zip").out
    assert json.loads(office.run("show", "x.zip", "--json").out)["signed"] is False
    assert "it is not signed" in office.refuse("verify", "x.zip", "--key", "bundle.pub.pem", code=1)


def test_a_passphrase_is_asked_for(office: Office) -> None:
    office.build()
    before = office.path("x.zip").read_bytes()
    wrong = office.process("sign", "x.zip", "--key", "encrypted.key", code=3, typed="wrong\n")
    assert "the passphrase is wrong" in wrong.err
    assert office.path("x.zip").read_bytes() == before
    done = office.process("sign", "x.zip", "--key", "encrypted.key", typed=f"{PASSPHRASE}\n")
    assert PASSPHRASE not in done.out + done.err
    office.run("verify", "x.zip", "--key", "bundle.pub.pem")


def test_nothing_is_overwritten_unless_told(office: Office) -> None:
    office.sign()
    before = office.path("x.zip").read_bytes()
    refused = office.refuse("build", "bundle.toml", "--out", "x.zip", code=3)
    assert "x.zip exists" in refused
    assert "--force" in refused
    assert "signed already" in office.refuse("sign", "x.zip", "--key", "bundle.key", code=3)
    office.path("y.zip").write_bytes(b"mine")
    assert "y.zip exists" in office.refuse("sign", "x.zip", "--key", "bundle.key", "--out", "y.zip", code=3)
    assert (office.path("x.zip").read_bytes(), office.path("y.zip").read_bytes()) == (before, b"mine")
    office.run("sign", "x.zip", "--key", "bundle.key", "--out", "y.zip", "--force")
    assert office.path("y.zip").read_bytes() == before
    office.run("build", "bundle.toml", "--out", "x.zip", "--force")
    assert "NOT SIGNED" in office.run("show", "x.zip").out


def test_another_key_does_not_verify(office: Office) -> None:
    office.sign()
    refused = office.refuse("verify", "x.zip", "--key", "other.pub.pem", code=1)
    assert "not signed with the expected key" in refused


def test_an_altered_bundle_is_neither_verified_nor_signed(office: Office) -> None:
    office.sign()
    data = bytearray(office.path("x.zip").read_bytes())
    data[len(data) // 2] ^= 1
    office.path("x.zip").write_bytes(data)
    assert "damaged" in office.refuse("verify", "x.zip", "--key", "bundle.pub.pem", code=1)
    assert "damaged" in office.refuse("sign", "x.zip", "--key", "bundle.key", "--force", code=1)
    assert "damaged" in office.refuse("show", "x.zip", code=1)
    assert office.path("x.zip").read_bytes() == bytes(data)


def test_huge_cut_and_foreign_files_are_refused(office: Office) -> None:
    office.sign()
    data = office.path("x.zip").read_bytes()
    office.path("cut.zip").write_bytes(data[: len(data) // 2])
    office.path("foreign.zip").write_bytes(b"\x7fELF" + data)
    with office.path("huge.zip").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of holes
    office.path("empty.zip").write_bytes(b"")
    for name, code, text in (
        ("cut.zip", 1, "cut off"),
        ("foreign.zip", 1, "no bundle"),
        ("empty.zip", 1, "no bundle"),
        ("huge.zip", 3, "larger than"),
        ("gone.zip", 3, "cannot read"),
        ("/dev/zero", 3, "not a file"),
        (".", 3, "cannot read"),
    ):
        assert text in office.refuse("verify", name, "--key", "bundle.pub.pem", code=code)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        pytest.param(
            ("verify", "x.zip", "--key", "bundle.key"), 3, "not a public key", id="private-for-public"
        ),
        pytest.param(("verify", "x.zip", "--key", "gone.pem"), 3, "cannot read gone.pem", id="no-key"),
        pytest.param(
            ("sign", "x.zip", "--key", "bundle.pub.pem"), 3, "not a private key", id="public-for-private"
        ),
        pytest.param(
            ("sign", "x.zip", "--key", "bundle.key", "--out", "no/y.zip"), 3, "cannot write", id="no-folder"
        ),
        pytest.param(
            ("build", "gone.toml", "--out", "y.zip"), 3, "cannot read gone.toml", id="no-description"
        ),
    ],
)
def test_wrong_files_are_named(office: Office, arguments: tuple[str, ...], code: int, text: str) -> None:
    office.build()
    assert text in office.refuse(*arguments, code=code)


def test_a_build_that_cannot_be_flashed_makes_no_file(office: Office) -> None:
    application = office.path("application/build/sensor.bin")
    good = application.read_bytes()
    application.write_bytes(app_image("esp32s3", "sensor", "1.4.0", {}, size=9_000))
    refused = office.refuse("build", "bundle.toml", "--out", "x.zip", code=1)
    assert "application: it is not signed for secure boot v2" in refused
    application.unlink()
    assert "cannot read application/build/sensor.bin" in office.refuse(
        "build", "bundle.toml", "--out", "x.zip", code=3
    )
    application.write_bytes(good)
    description = office.path("bundle.toml")
    description.write_text(description.read_text() + "more = 1\n")
    assert "burn.1.more" in office.refuse("build", "bundle.toml", "--out", "x.zip", code=3)
    assert not office.path("x.zip").exists()


def test_a_bootloader_that_does_not_show_its_table_is_named(office: Office) -> None:
    """One that a person has to look at; nothing is said where the code shows it."""
    office.build()
    assert "Not checked" not in office.run("build", "bundle.toml", "--out", "x.zip", "--force").out
    silent = with_signature_sector(bootloader_image("esp32s3", 3, {}, tells=False), secure_boot_key())
    office.path("manufacturing/build/bootloader/bootloader.bin").write_bytes(silent)
    told = office.run("build", "bundle.toml", "--out", "y.zip").out
    assert "Not checked: where bootloader will look for the partition table" in told
    assert "CONFIG_PARTITION_TABLE_OFFSET of that build has to be 0x8000" in told
    as_json = office.run("build", "bundle.toml", "--out", "y.zip", "--force", "--json").out
    assert json.loads(as_json)["table_place_unseen"] == ["bootloader"]


def test_wrong_usage(office: Office) -> None:
    office.build()
    office.run("show", "x.zip", "--json", "--order", code=2)
    office.run("sign", "x.zip", code=2)
