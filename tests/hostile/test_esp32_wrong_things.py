"""What a factory must not be able to build with: wrong bundles, wrong chips, wrong images, on a running line.

Each is refused with a code and a remedy, and not a byte of flash and not an eFuse was changed. In each group
something right passes, which differs from what is refused in one thing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent.core.bundle import Role
from agent.core.bundle_manifest import encode_manifest, parse_manifest
from agent.core.bundle_zip import pack, unpack
from agent.core.esp_image import signing_key_digest
from boards.esp32.signing import SigningKey
from harness.bundle_samples import describe, pack_signed, with_signature_sector
from harness.esp32_farm import Esp32Farm
from harness.esp32_line import AGENT, Company, Esp32Line, Esp32Run
from harness.process import run as run_command
from harness.process import wait_until

pytestmark = pytest.mark.check

FAMILY = "esp32s3"
CONFIGURATION = 3  # exit codes of `run` (docs/stations.md)
A_BOARD_FAILED = 1
_ALL_S = 120.0
_MATTER = ("flash_bytes", "flash_sha256", "efuse_words", "efuses_sha256")

Matter = Mapping[str, Any]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Esp32Line]:
    folder = tmp_path_factory.mktemp("wrong")
    with Esp32Line(folder, FAMILY, SigningKey.make(folder)) as line:
        yield line


@pytest.fixture(scope="module")
def other_company(line: Esp32Line) -> Company:
    """Another customer of the same factory."""
    folder = line.directory / "other-company"
    folder.mkdir()
    return Company(folder, FAMILY, SigningKey.make(folder))


def matter(farm: Esp32Farm, number: int = 0) -> Matter:
    """All that a station could have changed on a chip."""
    shown = farm.show(number)
    return {name: shown[name] for name in _MATTER}


# bundles that end the start


@pytest.fixture(scope="module")
def idle(line: Esp32Line) -> Esp32Run:
    """A chip that is as good as done, and a station whose configuration is changed in one thing at a time."""
    return line.new_run(held=line.bundle)


class Workshop:
    """The line's bundle taken apart, and a place for what is made of it."""

    def __init__(self, line: Esp32Line, other: Company) -> None:
        self.line, self.other = line, other
        self.entries = unpack(line.bundle.path.read_bytes())
        self.manifest = parse_manifest(self.entries["manifest.json"])
        key = load_pem_private_key(line.company.key_file.read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        self.key = key

    @property
    def files(self) -> dict[str, bytes]:
        """The images by their names."""
        return {image.name: self.entries[f"images/{image.name}.bin"] for image in self.manifest.images}

    def signed_with(self, images: Mapping[str, bytes], **changes: object) -> bytes:
        """Other images under a manifest that tells the truth of them, signed by the company unseen."""
        entries = tuple(
            describe(image.role, image.offset, images[image.name], image.name)
            if image.name in images
            else image
            for image in self.manifest.images
        )
        manifest = replace(self.manifest, images=entries, **changes)  # type: ignore[arg-type]
        return pack_signed(encode_manifest(manifest), {**self.files, **images}, self.key)

    def unsigned(self, role: Role) -> bytes:
        """The image of that role as it was before it was signed for secure boot."""
        images = Company(self.line.directory / f"unsigned-{role.value}", FAMILY, None).images()
        return images.by_role["bootloader" if role is Role.SECURE_BOOTLOADER else role.value]


@pytest.fixture(scope="module")
def workshop(line: Esp32Line, other_company: Company) -> Workshop:
    return Workshop(line, other_company)


def _without_signature(shop: Workshop) -> bytes:
    return pack({name: content for name, content in shop.entries.items() if name != "manifest.sig"})


def _signed_by_another_company(shop: Workshop) -> bytes:
    key = load_pem_private_key(shop.other.key_file.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return pack_signed(shop.entries["manifest.json"], shop.files, key)


def _one_bit_of_an_image(shop: Workshop) -> bytes:
    content = bytearray(shop.entries["images/application.bin"])
    content[len(content) // 2] ^= 1
    return pack({**shop.entries, "images/application.bin": bytes(content)})


def _one_byte_of_the_manifest(shop: Workshop) -> bytes:
    manifest = shop.entries["manifest.json"].replace(b'"product":"sensor"', b'"product":"sensot"')
    return pack({**shop.entries, "manifest.json": manifest})


def _unsigned_application(shop: Workshop) -> bytes:
    return shop.signed_with({"application": shop.unsigned(Role.APPLICATION)})


def _unsigned_bootloader(shop: Workshop) -> bytes:
    return shop.signed_with({"bootloader": shop.unsigned(Role.BOOTLOADER)})


def _unsigned_secure_bootloader(shop: Workshop) -> bytes:
    return shop.signed_with({"secure-bootloader": shop.unsigned(Role.SECURE_BOOTLOADER)})


def _application_that_names_the_key_and_is_not_signed(shop: Workshop) -> bytes:
    assert shop.line.company.signing_key is not None
    pem = shop.line.company.signing_key.public_pem
    return shop.signed_with({"application": with_signature_sector(shop.unsigned(Role.APPLICATION), pem)})


def _images_of_another_company(shop: Workshop) -> bytes:
    return shop.signed_with({"application": shop.other.images().by_role["application"]})


def _key_of_another_company(shop: Workshop) -> bytes:
    assert shop.manifest.secure_boot is not None
    assert shop.other.signing_key is not None
    pem = shop.other.signing_key.public_pem
    other = replace(
        shop.manifest.secure_boot, public_key_pem=pem, key_sha256=signing_key_digest(pem.encode())
    )
    return shop.signed_with({}, secure_boot=other)


def _below_its_own_minimum(shop: Workshop) -> bytes:
    return shop.signed_with({}, minimum_versions={"app": "9.0.0"})


def _twisted_burns(shop: Workshop) -> bytes:
    """A key purpose: the host would decide what a key block is for."""
    manifest = json.loads(shop.entries["manifest.json"])
    manifest["burns"] = [{"name": "KEY_PURPOSE_0", "value": 4, "when": "seal"}]
    encoded = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    return pack_signed(encoded, shop.files, shop.key)


WRONG_BUNDLES: Mapping[str, tuple[Callable[[Workshop], bytes], str]] = {
    "no signature": (_without_signature, "not signed"),
    "signed by another company": (_signed_by_another_company, "not signed with the expected key"),
    "altered image": (_one_bit_of_an_image, "application"),
    "altered manifest": (_one_byte_of_the_manifest, "not signed with the expected key"),
    "unsigned application": (_unsigned_application, "application"),
    "unsigned bootloader": (_unsigned_bootloader, "bootloader"),
    "unsigned secure bootloader": (_unsigned_secure_bootloader, "secure-bootloader"),
    "application that only names the key": (_application_that_names_the_key_and_is_not_signed, "application"),
    "application of another company": (_images_of_another_company, "another key"),
    "secure boot key of another company": (_key_of_another_company, "another key"),
    "below its own minimum": (_below_its_own_minimum, "older than minimum_versions"),
    "burns a key purpose": (_twisted_burns, "KEY_PURPOSE_0"),
}


def _start(line: Esp32Line, idle: Esp32Run, name: str, bundle: bytes) -> tuple[int, str]:
    """Exit code and errors of a station that has this bundle, and nothing else changed."""
    path = line.directory / f"{name.replace(' ', '-')}.zip"
    path.write_bytes(bundle)
    config = idle.config.with_name(f"{path.stem}.toml")
    text = idle.config.read_text(encoding="utf-8").replace(str(line.bundle.path), str(path))
    config.write_text(text, encoding="utf-8")
    command: list[str | Path] = [AGENT, "run", "--config", config, "--order", idle.work_order, "--json"]
    command += ["--count", "1", "--port", idle.farm.chips[0].port]
    program = line.installation.start(command, path.stem)
    return program.wait(_ALL_S), program.errors()


@pytest.mark.parametrize("name", WRONG_BUNDLES)
def test_a_wrong_bundle_ends_the_start(
    line: Esp32Line, idle: Esp32Run, workshop: Workshop, name: str
) -> None:
    make, said = WRONG_BUNDLES[name]
    before = idle.farm.show(0)
    code, errors = _start(line, idle, name, make(workshop))
    assert (code, said in errors) == (CONFIGURATION, True), errors
    (told,) = errors.splitlines()
    wrong, _, remedy = told.rpartition(". ")
    assert (said in wrong, remedy.endswith(".")) == (True, True), "the remedy, behind what is wrong"
    assert idle.farm.show(0) == before, "not even looked at"


def test_the_same_bundle_made_anew_is_taken(line: Esp32Line, idle: Esp32Run, workshop: Workshop) -> None:
    """After all that was tried on it, the chip is as good as new."""
    code, errors = _start(line, idle, "right", workshop.signed_with({}))
    assert code == 0, errors
    line.finished_once(idle)


# orders


def test_an_order_that_names_another_bundle_stops_the_line(line: Esp32Line) -> None:
    other = line.company.bundle("named", line.company.images(version="1.4.1"))
    run = line.new_run(order_bundle=other)
    stopped(run, "bundle_differs")


def test_an_order_whose_minimum_the_bundle_does_not_reach_stops_the_line(line: Esp32Line) -> None:
    """signerd opens no order whose own firmware is too old; here it names only the bundle."""
    named = replace(line.bundle, firmware={})
    stopped(line.new_run(order_bundle=named, minimum_firmware={"app": "1.4.1"}), "bundle_too_old")


def test_an_order_whose_minimum_is_reached(line: Esp32Line) -> None:
    run = line.new_run(order_bundle=replace(line.bundle, firmware={}), minimum_firmware={"app": "1.4.0"})
    assert run.start_agent().wait(_ALL_S) == 0
    line.finished_once(run)


def stopped(run: Esp32Run, code: str) -> None:
    """No board of this order can pass: the line stops at the first, which is as it was."""
    before = matter(run.farm)
    agent = run.start_agent()
    assert agent.wait(_ALL_S) != 0
    (result,) = run.results()
    assert (result["code"], result["step"], result["stop"]) == (code, "session", True)
    assert "[bundle] in agent.toml" in result["remedy"]
    assert matter(run.farm) == before


# chips


def refused(run: Esp32Run, expected: Mapping[str, tuple[str, str]], passes: int) -> None:
    """All chips in one run of the station: these are refused, with their codes; so many others pass."""
    farms = {farm.chips[0].chip_id: farm for farm in run.others}
    before = {chip: matter(farm) for chip, farm in farms.items()}
    assert run.start_agent().wait(_ALL_S) == A_BOARD_FAILED
    results = {result["chip_id"]: result for result in run.results()}
    assert len(results) == len(farms) + passes
    by_name = {Path(farm.chips[0].port).parents[1].name: farm for farm in run.others}
    for name, (code, remedy) in expected.items():
        farm = by_name[name]
        chip = farm.chips[0].chip_id
        result = results[chip]
        assert (result["code"], result["outcome"], result["step"]) == (code, "FAIL", "flash"), name
        assert remedy in result["remedy"], name
        assert result["stop"] is False, "the next board may be fine"
        assert matter(farm) == before[chip], name


def test_chips_that_this_bundle_is_not_for(line: Esp32Line, other_company: Company) -> None:
    """All at once on one station, beside one that is right."""
    theirs = other_company.bundle("theirs", other_company.images())
    older = line.company.bundle("older", line.company.images(version="1.3.0"))
    newer = line.company.bundle("newer", line.company.images(version="9.0.0"))
    run = line.new_run()
    line.add_chip(run, "other-family", family="esp32c3")
    line.add_chip(run, "other-flash", flash_size=2)
    line.add_chip(run, "newer", preset="current", bundle=newer.path)
    line.add_chip(run, "theirs", preset="locked", bundle=theirs.path)
    line.add_chip(run, "locked-older", preset="locked", bundle=older.path)
    refused(
        run,
        {
            "other-family": ("bundle_other_chip", "another product"),
            "other-flash": ("flash_too_small", "another flash"),
            "newer": ("firmware_newer", "newer bundle"),
            "theirs": ("secure_boot_key_differs", "another product or company"),
            "locked-older": ("chip_sealed", "nothing can be written"),
        },
        passes=1,
    )
    line.finished_once(run)


def test_an_esp32_that_knows_no_secure_boot_v2(line: Esp32Line) -> None:
    """Revision v1; beside it one of v3, and an S3, for which this bundle is not."""
    signing_key = line.company.signing_key
    company = Company(line.directory / "classic", "esp32", signing_key)
    company.key_file = line.company.key_file
    bundle = company.bundle("classic", company.images())
    run = line.new_run(bundle=bundle)  # its chip is an S3
    before = matter(run.farm)
    line.add_chip(run, "revision-1", family="esp32-v1")
    old = run.others[0]
    refused(run, {"revision-1": ("chip_revision", "another chip")}, passes=1)
    results = {result["chip_id"]: result["code"] for result in run.results()}
    assert results == {old.chips[0].chip_id: "chip_revision", run.chips[0]: "bundle_other_chip"}
    assert matter(run.farm) == before


# the station's own files


def test_an_image_that_is_altered_where_the_running_station_keeps_it(line: Esp32Line) -> None:
    run = line.new_run()
    before = matter(run.farm)
    run.farm.press(0, "power off")
    agent = run.start_agent()
    wait_until(lambda: _looks(run, agent.pid), "the station to look", program=agent, timeout_s=_ALL_S)
    (folder,) = [one for one in line.station.directory.rglob(line.bundle.sha256.hex()) if one.is_dir()]
    image = folder / "application.bin"
    whole = image.read_bytes()
    image.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    run.farm.press(0, "power on")
    assert agent.wait(_ALL_S) != 0
    (result,) = run.results()
    assert (result["code"], result["step"], result["stop"]) == ("configuration", "flash", True)
    assert "altered" in result["detail"]
    assert matter(run.farm) == before
    # The next start finds the difference, and lays the bundle out anew.
    assert run.start_agent().wait(_ALL_S) == 0
    assert image.read_bytes() == whole
    line.finished_once(run)


def _looks(run: Esp32Run, pid: int) -> bool:
    """Whether this process has read its files, and no other of before: it shows its ports from then on."""
    live = json.loads(run_command([AGENT, "status", "--config", run.config, "--json"]))["live"]
    return live is not None and live["pid"] == pid and bool(live["state"]["ports"])
