"""A line that builds products of the ESP32 family: the real programs, real esptool, simulated chips.

    with Esp32Line(directory, "esp32s3", signing_key) as line:
        run = line.new_run(chips=2)
        assert run.start_agent().wait() == 0
        line.finished_once(run)

Evidence is `hmac-sha256` of level `chip`; on the classic ESP32, which has no HMAC peripheral, it is `none`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from birthmark.v1 import audit_pb2
from boards.esp32.product import ProductImages, make_images
from boards.esp32.signing import SigningKey
from harness.audited import Audited
from harness.esp32_farm import RESET_COMMAND, Esp32Farm
from harness.installation import Installation, Peer, order_toml
from harness.process import COMMANDS, Program, or_ended, run

AGENT = COMMANDS / "birthmark-agent"
LOCKS = ("secure_boot", "flash_encryption", "debug_closed")
CLASSIC = "esp32"
_CHIPS_AN_ORDER = 64
_ENDS = frozenset({"board_done", "board_failed", "board_parked"})
_LABEL = """
width_mm = 200  # the ports of a test have long names
height_mm = 25
dpi = 203
lines = ["S/N {serial}", "Port {port}"]

[code]
kind = "esp-provisioning"
name = "PROV_{chip_tail}"
transport = "ble"
"""


def product_toml(name: str, method: str) -> str:
    """A product whose boards must be locked."""
    return f"""\
name = "{name}"

[keys]
accept = ["p256", "rsa2048"]

[evidence]
methods = ["{method}"]

[certificate]
validity_days = 7300
subject = [["O", "Example Corp"], ["CN", "{{serial}}"]]
key_usage = ["digitalSignature"]
extended_key_usage = ["clientAuth"]

[stamp]
required_locks = {json.dumps(list(LOCKS))}
"""


@dataclass(frozen=True, slots=True)
class BundleFile:
    """A signed bundle, and what an order says of it."""

    path: Path
    sha256: bytes
    firmware: Mapping[str, Sequence[Any]]


class Company:
    """Makes bundles with the commands that its engineers use."""

    def __init__(self, folder: Path, family: str, signing_key: SigningKey | None) -> None:
        self.folder, self.family, self.signing_key = folder, family, signing_key
        folder.mkdir(parents=True, exist_ok=True)
        key = Ed25519PrivateKey.generate()
        self.key_file, self.public_key_file = folder / "bundle.pem", folder / "bundle.pub.pem"
        self.key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.key_file.chmod(0o600)
        self.public_key_file.write_bytes(
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )

    def images(self, **options: Any) -> ProductImages:
        """Images of the product (`boards.esp32.product.make_images`)."""
        return make_images(self.family, self.signing_key, **options)

    def bundle(
        self, name: str, images: ProductImages, extra: str = "", *, flash_size: str = "4MB"
    ) -> BundleFile:
        """`bundle build`, `sign` and `show`; `extra` goes to the end of the description."""
        folder = self.folder / name
        folder.mkdir()
        paths = images.write(folder)
        tables = "".join(
            f'\n[[image]]\nrole = "{role}"\nfile = "{path.name}"\n' for role, path in paths.items()
        )
        secure_boot = ""
        if self.signing_key is not None:
            (folder / "secure-boot.pub.pem").write_text(self.signing_key.public_pem, encoding="ascii")
            secure_boot = '\n[secure_boot]\npublic_key = "secure-boot.pub.pem"\n'
        head = f'product = "sensor"\nversion = "1.0.0"\nchip = "{images.chip}"\nflash_size = "{flash_size}"\n'
        description = folder / "bundle.toml"
        description.write_text(head + tables + secure_boot + extra, encoding="utf-8")
        path = self.folder / f"{name}.zip"
        run([AGENT, "bundle", "build", description, "--out", path])
        run([AGENT, "bundle", "sign", path, "--key", self.key_file])
        order = tomllib.loads(run([AGENT, "bundle", "show", path, "--order"]))["bundle"]
        firmware = {
            component: [version, bytes.fromhex(digest)]
            for component, (version, digest) in order["firmware"].items()
        }
        return BundleFile(path, bytes.fromhex(order["sha256"]), firmware)


@dataclass(frozen=True, slots=True)
class Esp32Run:
    """Chips on the ports of a station, and the order that they are made for."""

    installation: Installation
    station: Peer
    config: Path
    farm: Esp32Farm
    work_order: str
    agents: list[int] = field(default_factory=list)
    others: list[Esp32Farm] = field(default_factory=list)  # further chips on ports of the same station

    @property
    def chips(self) -> list[str]:
        """Base MACs of the chips, sorted."""
        return sorted(chip.chip_id for chip in self.farm.chips)

    def start_agent(self, *options: str, count: int | None = None) -> Program:
        """`birthmark-agent run` on all the ports, until so many boards are done; all of them if not said."""
        command: list[str | Path] = [AGENT, "run", "--config", self.config, "--order", self.work_order]
        chips = [chip for farm in (self.farm, *self.others) for chip in farm.chips]
        command += ["--count", str(count or len(chips)), "--json", *options]
        for chip in chips:
            command += ["--port", chip.port]
        self.agents.append(len(self.agents))
        return self.installation.start(command, f"agent-{self.work_order}-{len(self.agents)}")

    def events(self) -> list[dict[str, Any]]:
        """The JSON lines of every agent so far, in their order."""
        lines: list[dict[str, Any]] = []
        for number in range(1, len(self.agents) + 1):
            path = self.installation.logs / f"agent-{self.work_order}-{number}.out"
            lines += map(json.loads, path.read_text(encoding="utf-8").split("\n")[:-1])
        return lines

    def gone_ports(self) -> set[str]:
        """Ports that the running agent has seen go away, as `birthmark-agent status` tells."""
        status = json.loads(run([AGENT, "status", "--config", self.config, "--json"]))
        ports = status["live"]["state"]["ports"] if status["live"] else []
        return {port["port"] for port in ports if port["state"] == "gone"}

    def results(self) -> list[dict[str, Any]]:
        """What came of boards, oldest first."""
        return [event for event in self.events() if event["event"] in _ENDS]

    def outcomes(self) -> dict[str, str]:
        """Chip id -> the code with which the agent was last done with it; "" for PASS."""
        return {result["chip_id"]: result["code"] for result in self.results()}


class Esp32Line(Audited):
    """One installation, one company with one family, many runs."""

    def __init__(
        self,
        directory: Path,
        family: str,
        signing_key: SigningKey | None,
        make: Callable[[Path], Installation] = Installation,
    ) -> None:
        """`make` makes the installation, in a directory of its own."""
        self.directory, self.family = directory, family
        self.installation = make(directory / "installation")
        self.method = "none" if family == CLASSIC else "hmac-sha256"
        self._runs = 0
        with or_ended(self.installation.close):
            self._fill(signing_key)

    def _fill(self, signing_key: SigningKey | None) -> None:
        """What a line needs: signerd, its peers and a bundle."""
        self.installation.start_signerd()
        self.installation.add_product(product_toml("sensor", self.method))
        self.station = self.installation.add_station("plant1", "pc1")
        self.auditor = self.installation.add_auditor("company")
        self.company = Company(self.directory / "company", self.family, signing_key)
        self.images = self.company.images()
        self.bundle = self.company.bundle("sensor", self.images)

    def new_run(
        self,
        *,
        chips: int = 1,
        bundle: BundleFile | None = None,
        order_bundle: BundleFile | None = None,
        held: BundleFile | None = None,
        recipe: str | None = None,
        config: str = "",
        driver: str = "",
        minimum_firmware: Mapping[str, str] | None = None,
        **options: object,
    ) -> Esp32Run:
        """Plugs in chips that were never used before, under a work order of their own.

        Args:
            chips: how many.
            bundle: what the station flashes; the line's own if not said.
            order_bundle: what the order names, if not that.
            held: what the chips were flashed with before (its manufacturing stage); empty ones if not said.
            recipe: TOML; the driver's own if not said.
            config: what is added to agent.toml.
            driver: what is added to the table of the driver.
            minimum_firmware: of the order.
            **options: of `python -m boards.esp32`.
        """
        self._runs += 1
        order = f"WO-{self.family}-{self._runs}"
        first_mac = 0x7CDFA1000000 + 0x100 * self._runs
        macs = [_mac_text(first_mac + number) for number in range(chips)]
        named = order_bundle or bundle or self.bundle
        folder = self.directory / order
        folder.mkdir()
        self._open_order(order, macs, named, minimum_firmware or {})
        if self.method != "none":
            keys = self.installation.personalize(macs, locked=False)
            options["secrets"] = folder / "secrets.csv"
            rows = "".join(f"{mac},{key.hex()}\n" for mac, key in keys.items())
            (folder / "secrets.csv").write_text(rows, encoding="ascii")
        if held is not None:
            options |= {"preset": "current", "bundle": held.path}
        path = self._configure(folder, bundle or self.bundle, recipe, config, driver)
        farm = Esp32Farm(
            self.family,
            folder,
            log=self.installation.logs / f"chips-{order}",
            options={"count": chips, "first_mac": f"{first_mac:012x}", **options},
        )
        self.installation.keep(farm)
        return Esp32Run(self.installation, self.station, path, farm, order)

    def add_chip(
        self, run_: Esp32Run, name: str, *, family: str | None = None, **options: object
    ) -> Esp32Farm:
        """Plugs in one more chip under the same order, of whatever kind; `options` as of `new_run`."""
        self._runs += 1
        first_mac = 0x7CDFA1000000 + 0x100 * self._runs
        if self.method == "none":
            self.installation.import_chips(run_.work_order, [_mac_text(first_mac)])
        else:
            self.installation.personalize([_mac_text(first_mac)], locked=False)
        farm = Esp32Farm(
            family or self.family,
            self.directory / run_.work_order / name,
            log=self.installation.logs / f"chips-{run_.work_order}-{name}",
            options={"first_mac": f"{first_mac:012x}", **options},
        )
        self.installation.keep(farm)
        run_.others.append(farm)
        return farm

    def _open_order(
        self, order: str, macs: Sequence[str], bundle: BundleFile, minimum_firmware: Mapping[str, str]
    ) -> None:
        terms = order_toml(
            order,
            quantity=_CHIPS_AN_ORDER,
            stations=[self.station.uri],
            level="none" if self.method == "none" else "chip",
            serial_pattern=f"{order}-{{number:04d}}",
            minimum_firmware=minimum_firmware,
            bundle_sha256=bundle.sha256,
            firmware=bundle.firmware,
        )
        self.installation.open_order(terms)
        if self.method == "none":
            self.installation.import_chips(order, macs)

    def _configure(
        self, folder: Path, bundle: BundleFile, recipe: str | None, config: str, driver: str
    ) -> Path:
        """The station's agent.toml, with what this run adds; journal and enrolment are the station's."""
        base = self.station.config.read_text(encoding="utf-8").replace('driver = "smp"\n', "")
        head = 'driver = "esp32"\n'
        if recipe is not None:
            (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
            head += f'recipe = "{folder / "recipe.toml"}"\n'
        tables = f"""
[bundle]
path = "{bundle.path}"
key = "{self.company.public_key_file}"

[label]
template = "{folder / "label.toml"}"
folder = "{folder / "labels"}"
formats = ["png"]

[drivers.esp32]
reset_command = {json.dumps(list(RESET_COMMAND))}
{driver}
{config}
"""
        (folder / "labels").mkdir()
        (folder / "label.toml").write_text(_LABEL, encoding="utf-8")
        path = self.station.directory / f"{folder.name}.toml"
        path.write_text(head + base + tables, encoding="utf-8")
        return path

    def records(self, run_: Esp32Run) -> list[audit_pb2.Record]:
        """The boards' certificates, as an auditor reads them."""
        return self.records_of(run_.chips)

    def finished_once(self, run_: Esp32Run, chips: Sequence[str] | None = None) -> None:
        """Each chip: one certificate, for its own key, one stamp, all locks closed, the application runs.

        `chips`: those; and no other was stamped, though it may have got its certificate.
        """
        wanted = sorted(run_.chips if chips is None else chips)
        records = self.records(run_)
        if chips is not None:
            records = [one for one in records if one.state == audit_pb2.RECORD_STATE_STAMPED]
        assert sorted(record.chip_id for record in records) == wanted
        assert {record.state for record in records} <= {audit_pb2.RECORD_STATE_STAMPED}
        assert len({record.serial_number for record in records}) == len(wanted)
        for chip in run_.farm.chips:
            if chip.chip_id in wanted:
                shown = run_.farm.show(chip.number)
                assert shown["locks"] == dict.fromkeys(LOCKS, True), shown
                assert shown["firmware"] == "application", shown
                assert shown["sealed"] is True, shown
                assert shown["nvs_encrypted"] is True, shown


def _mac_text(mac: int) -> str:
    return ":".join(f"{byte:02x}" for byte in mac.to_bytes(6, "big"))
