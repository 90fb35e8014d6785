"""A whole installation of the real programs, as separate processes over real sockets and files.

    with Installation(directory) as installation:
        installation.start_signerd()
        installation.add_product(SENSOR)
        station = installation.add_station("plant1", "pc1")
        installation.open_order(order_toml("WO-1", quantity=4, stations=[station.uri]))
        keys = installation.personalize(["chip-1"], locked=True)

Everything is done through the commands that an administrator and an operator use. Leaving the context
ends every process that was started, by pid, and no other.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import psutil

from harness.board_farm import BoardFarm
from harness.esp32_farm import Esp32Farm
from harness.process import COMMANDS, Program, run, wait_until

DEPLOYMENT = "dev"
_ANY_PORT = "127.0.0.1:0"


def product_toml(
    name: str = "sensor",
    *,
    methods: Sequence[str] = ("hmac-sha256",),
    sections: Iterable[str] = (),
    level: str | None = None,
    chips: str | None = None,
    minimum_firmware: Mapping[str, str] | None = None,
    certificate_extension: str | None = None,
) -> str:
    """A product file.

    Args:
        name: of the product.
        methods: of evidence, preferred first.
        sections: `[evidence.<method>]` as the boards' vendors wrote them, of these methods alone.
        level: the least that a work order may demand.
        chips: which ones count: "any", "listed".
        minimum_firmware: component -> version.
        certificate_extension: OID of the extension that speaks of evidence.
    """
    terms = [f"methods = [{', '.join(json.dumps(method) for method in methods)}]"]
    if level is not None:
        terms.append(f'level = "{level}"')
    if chips is not None:
        terms.append(f'chips = "{chips}"')
    if certificate_extension is not None:
        terms.append(f'certificate_extension = "{certificate_extension}"')
    if minimum_firmware:
        minima = [f'{component} = "{version}"' for component, version in minimum_firmware.items()]
        terms += ["", "[evidence.minimum_firmware]", *minima]
    trusted = "".join(section.rstrip("\n") + "\n\n" for section in sections if section)
    return f"""\
name = "{name}"

[keys]
accept = ["p256", "p384"]

[evidence]
{chr(10).join(terms)}

{trusted}[certificate]
validity_days = 7300
backdate_s = 3600
subject = [["O", "Example Corp"], ["CN", "{{serial}}"]]
key_usage = ["digitalSignature"]
extended_key_usage = ["clientAuth"]
san_uri = ["https://boards.example.com/{{chip_id}}"]

[stamp]
required_locks = ["secure_boot"]
"""


def need_a_list(methods: Iterable[str]) -> bool:
    """True if they share no anchor, so that a product of them names its chips."""
    known = set(methods) - {"none"}
    return len(known) > 1 and not known.isdisjoint({"x509", "tpm2"})


SENSOR = product_toml()


def order_toml(
    work_order: str,
    *,
    quantity: int,
    stations: Sequence[str],
    product: str = "sensor",
    level: str = "chip",
    serial_pattern: str = "BM-{number:06d}",
    serial_start: int = 1,
    reissue: str = "never",
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    minimum_firmware: Mapping[str, str] | None = None,
    bundle_sha256: bytes | None = None,
    firmware: Mapping[str, Sequence[Any]] | None = None,
) -> str:
    """A work order file, open now unless told otherwise.

    `firmware`: component -> version and digest, as in claims; it needs `bundle_sha256`.
    """
    now = datetime.now(UTC)
    begin, end = not_before or now - timedelta(days=1), not_after or now + timedelta(days=30)
    minima = "".join(f'{name} = "{version}"\n' for name, version in (minimum_firmware or {}).items())
    return f"""\
work_order = "{work_order}"
product = "{product}"
quantity = {quantity}
not_before = {begin:%Y-%m-%dT%H:%M:%SZ}
not_after = {end:%Y-%m-%dT%H:%M:%SZ}
stations = [{", ".join(f'"{uri}"' for uri in stations)}]
level = "{level}"
serial_pattern = "{serial_pattern}"
serial_start = {serial_start}
reissue = "{reissue}"

[minimum_firmware]
{minima}
{_bundle(bundle_sha256, firmware or {})}[settings]
endpoint = "mqtts://example.com:8883"
"""


def _bundle(sha256: bytes | None, firmware: Mapping[str, Sequence[Any]]) -> str:
    if sha256 is None:
        return ""
    components = "".join(f'{name} = ["{item[0]}", "{item[1].hex()}"]\n' for name, item in firmware.items())
    named = f"[bundle.firmware]\n{components}\n" if firmware else ""
    return f'[bundle]\nsha256 = "{sha256.hex()}"\n\n{named}'


@dataclass(frozen=True, slots=True)
class Peer:
    """A station or an auditor that was enrolled: its folder, and how to call signerd as it."""

    uri: str
    directory: Path
    config: Path
    key_file: Path
    certificate_file: Path
    operations_ca_file: Path

    def credentials(self) -> grpc.ChannelCredentials:
        """For a gRPC channel of one's own, as a hostile peer would make it."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.operations_ca_file.read_bytes(),
            private_key=self.key_file.read_bytes(),
            certificate_chain=self.certificate_file.read_bytes(),
        )


class Installation:
    """A development installation in `directory`, which must not exist yet or be empty."""

    def __init__(
        self, directory: Path, *, signerd: Sequence[str | Path] | None = None, commands: Path = COMMANDS
    ) -> None:
        """`signerd` is the command whose `run` is the daemon, if not that of `commands`, where all are."""
        self.directory = directory
        self._own_daemon = signerd
        self.commands = commands
        self.home = directory / "signerd"
        self.config = self.home / "signerd.toml"
        self.logs = directory / "logs"
        self.logs.mkdir(parents=True)
        self._programs = ExitStack()
        self._signerd: Program | None = None
        self._make()

    def _make(self) -> None:
        where = ["--deployment", DEPLOYMENT, "--listen", _ANY_PORT]
        run([self.commands / "signerd", "init", self.home, "--dev", *where])

    # signerd

    @property
    def _daemon(self) -> Sequence[str | Path]:
        return self._own_daemon or (self.commands / "signerd",)

    @property
    def port_file(self) -> Path:
        """Where signerd writes the port that the kernel chose."""
        return self.home / "signerd.port"

    @property
    def target(self) -> str:
        """host:port of signerd, as stations reach it."""
        return f"127.0.0.1:{int(self.port_file.read_text(encoding='ascii'))}"

    @property
    def process(self) -> Program:
        """The running signerd."""
        assert self._signerd is not None, "signerd was not started"
        return self._signerd

    def start_signerd(self, environment: Mapping[str, str] | None = None) -> Program:
        """Starts signerd and returns when it serves."""
        self.port_file.unlink(missing_ok=True)
        program = Program(
            [*self._daemon, "run", "--config", self.config],
            log=self.logs / "signerd",
            environment=environment,
        )
        self._signerd = self._programs.enter_context(program)
        # signerd writes the file, whole, once it listens.
        wait_until(self.port_file.exists, "signerd to serve", program=program)
        self._keep_port()
        return program

    def _keep_port(self) -> None:
        """The port that the kernel chose stays over restarts: stations have it in their configuration."""
        text = self.config.read_text(encoding="utf-8")
        self.config.write_text(text.replace(f'"{_ANY_PORT}"', f'"{self.target}"'), encoding="utf-8")

    def key_holder(self) -> psutil.Process:
        """The key holder's process."""
        (holder,) = self.process.children()
        return holder

    def admin(self, *arguments: str | Path, expect: int = 0) -> str:
        """Runs an administrator's command of `signerd` on this installation; returns what it printed."""
        return run([self.commands / "signerd", *arguments, "--config", self.config], expect=expect)

    # what an administrator does

    def add_product(self, toml: str) -> None:
        """`signerd product add`."""
        self.admin("product", "add", self._file("product.toml", toml))

    def open_order(self, toml: str) -> None:
        """`signerd order open`."""
        self.admin("order", "open", self._file("order.toml", toml))

    def import_chips(self, work_order: str, chip_ids: Iterable[str]) -> None:
        """`signerd chips import`: for orders of level none."""
        listing = self._file("chips.txt", "".join(f"{chip_id}\n" for chip_id in chip_ids))
        self.admin("chips", "import", "--order", work_order, listing)

    def personalize(
        self, chip_ids: Sequence[str], *, locked: bool = True, key: str = "hmac-sha256"
    ) -> dict[str, bytes]:
        """`signerd chips personalize`; returns each chip's key, for the boards."""
        listing = self._file("chips.txt", "".join(f"{chip_id}\n" for chip_id in chip_ids))
        keys = self.directory / "keys.csv"
        keys.unlink(missing_ok=True)
        lock = ["--locked"] if locked else []
        self.admin("chips", "personalize", listing, "--site", "lab", "--key", key, *lock, "--out", keys)
        with keys.open(encoding="ascii", newline="") as rows:
            return {row[0]: bytes.fromhex(row[1]) for row in csv.reader(rows) if row[0] in set(chip_ids)}

    def add_identities(self, lines: Iterable[Mapping[str, str]], product: str, method: str) -> None:
        """`signerd chips import-identities`: attestation keys, a line a chip (docs/formats.md)."""
        listing = self._file("identities.jsonl", "".join(json.dumps(dict(line)) + "\n" for line in lines))
        self.admin("chips", "import-identities", listing, "--product", product, "--method", method)

    def add_product_for(self, farm: BoardFarm, name: str) -> None:
        """A product that trusts just these boards: their methods, their vendors, their identities."""
        sections = farm.trust.sections.values()
        chips = "listed" if need_a_list(farm.methods) else "any"  # see `list_chips_of`
        self.add_product(product_toml(name, methods=farm.methods, sections=sections, chips=chips))
        for method, lines in farm.trust.identities.items():
            self.add_identities(lines, name, method)

    def list_chips_of(self, farm: BoardFarm, work_order: str) -> None:
        """Puts the boards on the list of an order whose product demands one."""
        if need_a_list(farm.methods):
            self.import_chips(work_order, [board.chip_id for board in farm.boards])

    def add_station(self, site: str, name: str) -> Peer:
        """Enrols a station with the agent's own commands; its configuration is `Peer.config`."""
        uri = f"birthmark://{DEPLOYMENT}/station/{site}/{name}"
        return self._enroll("agent", "station", uri, self.directory / f"station-{site}-{name}", site, name)

    def add_auditor(self, name: str) -> Peer:
        """Enrols an auditor with the auditor's own commands."""
        uri = f"birthmark://{DEPLOYMENT}/auditor/{name}"
        return self._enroll("auditor", "auditor", uri, self.directory / f"auditor-{name}", None, name)

    def start(
        self, command: Sequence[str | Path], name: str, environment: Mapping[str, str] | None = None
    ) -> Program:
        """Starts another program of this installation; it ends with the context."""
        return self._programs.enter_context(Program(command, log=self.logs / name, environment=environment))

    def keep(self, running: Esp32Farm) -> None:
        """Chips that are plugged in already; they end with the context."""
        self._programs.enter_context(running)

    def start_boards(
        self, chips: Mapping[str, bytes] | None = None, name: str = "boards", **options: object
    ) -> BoardFarm:
        """Plugs in simulated boards; `options` are those of `python -m boards`, `wrong` and `faults` as maps.

        `chips` are personalized ones with their keys: a board each, or those of the boards whose turn it is
        to be of method `hmac-sha256` where `evidence` names several methods.
        """
        secrets = None
        if chips is not None:
            rows = "".join(f"{chip},{key.hex()}\n" for chip, key in chips.items())
            secrets = self._file(f"{name}.csv", rows)
        trust = self.directory / f"{name}.trust.json"
        farm = BoardFarm(secrets, trust=trust, log=self.logs / name, options=options)
        return self._programs.enter_context(farm)

    def _enroll(
        self, program: str, role: str, uri: str, directory: Path, site: str | None, name: str
    ) -> Peer:
        enroll: list[str | Path] = [self.commands / f"birthmark-{program}", "enroll", "--dir", directory]
        where = [] if site is None else ["--site", site]
        run([*enroll, "--deployment", DEPLOYMENT, *where, "--name", name])
        certificate = self.directory / f"{directory.name}.pem"
        self.admin(role, "add", directory / f"{role}.csr.pem", *where, "--name", name, "--out", certificate)
        trust: list[str | Path] = [
            *("--operations-ca", self.home / "operations" / "ca.pem"),
            *("--log-vkey", self.home / "log.vkey"),
            *("--device-root", self.home / "ca" / "root.pem"),
            *("--signerd", self.target),
        ]
        run([*enroll, "--install", certificate, *trust])
        return Peer(
            uri=uri,
            directory=directory,
            config=directory / f"{program}.toml",
            key_file=directory / f"{role}.key",
            certificate_file=certificate,
            operations_ca_file=self.home / "operations" / "ca.pem",
        )

    def _file(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends every process that was started."""
        self._programs.close()
