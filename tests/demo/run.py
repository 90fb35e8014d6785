"""`make demo`: four simulated boards, two each of two evidence methods, through the whole line; two ESP32.

By the real programs as separate processes, with attackers between them. The ESP32 chips come empty, and are
flashed, locked and labelled (`demo.esp32_scene`).

Leaves its results in var/demo and ends with 1 if anything is not as it should be.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from boards.attesters.psa_token import PsaVendor
from demo.esp32_scene import SHOWN, Esp32Scene
from demo.evidence_folder import Collected, collect
from demo.forgeries import Forger, Forgery, Hoard
from demo.story import Story
from harness.board_farm import BoardFarm
from harness.installation import Installation, Peer, order_toml
from harness.paper_board import PaperBoard
from harness.process import COMMANDS, REPOSITORY, ProgramError, run
from harness.yubikey_installation import YubiKeyInstallation
from tokens import yubikey
from tokens.piv_card import PivCard
from tokens.yubikey import VirtualYubiKey

FOLDER = REPOSITORY / "var" / "demo"
ORDER = "WO-DEMO"
METHODS = ("hmac-sha256", "psa-token")
BOARDS = 4  # in turn
AGENT_TIMEOUT_S = 50.0
STEPS = frozenset({"keygen", "sign", "install", "stamp"})  # that are told where there is no live table


class Demo(Story):
    """The story of boards that come with their firmware."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def play(self, installation: Installation) -> None:
        """From an empty folder to a verified ledger."""
        self.tell("signerd: an installation, started")
        installation.start_signerd()
        self.console.print(f"  pid {installation.process.pid}, key holder {installation.key_holder().pid}")
        checks = json.loads(installation.admin("check-config", "--json"))["checks"]
        self.console.print(f"  keys: {next(each['said'] for each in checks if each['name'] == 'keys')}")
        station = installation.add_station("plant1", "pc1")
        auditor = installation.add_auditor("company")
        *chips, spare = [f"CHIP-{number:04d}" for number in range(1, BOARDS // 2 + 2)]
        keys = installation.personalize([*chips, spare])
        hoard = Hoard.of(PaperBoard(spare, keys[spare]), PsaVendor())
        farm = installation.start_boards(
            {chip: keys[chip] for chip in chips},
            evidence=",".join(METHODS),
            count=BOARDS,
            prefix="PSA-",
            baud=115200,
            keygen_seconds=1.0,
            buffer=512,
        )
        installation.add_product_for(farm, "sensor")
        installation.add_identities(hoard.identities(), "sensor", "psa-token")
        terms = order_toml(ORDER, quantity=BOARDS, stations=[station.uri], level="key")
        installation.open_order(terms)
        self.console.print(
            f"  product sensor accepts {' and '.join(METHODS)}, order {ORDER}: {BOARDS} boards"
        )
        self.console.print(f"  station {station.uri}")

        self.tell("a hostile program with the station's certificate tries")
        forger = Forger(station, installation.target, ORDER, hoard)
        forgeries = forger.with_the_stations_certificate()
        self.forge(forgeries)

        self.tell("and with genuine boards, put aside")
        attacks = forger.with_genuine_boards()
        self.forge(attacks)

        self.tell(f"birthmark-agent: {BOARDS} boards on serial lines")
        for board in farm.boards:
            self.console.print(f"  {board.port}: {board.chip_id}, evidence by {board.method}")
        self.run_agent(installation, station, farm)

        self.tell("the hostile program again")
        late = forger.when_the_order_is_full()
        self.forge(late)
        forger.close()

        self.tell("birthmark-auditor: verifies everything with code of its own")
        self.audit(auditor)

        self.tell("and with tools that are not ours")
        collected = collect(installation, auditor, self.folder)
        self.check_records(collected)
        self.check_refusals(collected, [*forgeries, *attacks, *late])
        self.check_certificates(collected, farm)

    def forge(self, forgeries: list[Forgery]) -> None:
        """Each forgery must be refused with its code."""
        for forgery in forgeries:
            code = forgery.code()
            self.check(forgery.what, holds=code == forgery.expected, detail=f"refused, {code}")

    def run_agent(self, installation: Installation, station: Peer, farm: BoardFarm) -> None:
        """The agent's own live table on a terminal; a line a board otherwise."""
        command: list[str | Path] = [COMMANDS / "birthmark-agent", "run", "--config", station.config]
        command += ["--order", ORDER, "--count", str(BOARDS)]
        for port in farm.ports:
            command += ["--port", port]
        begun = time.monotonic()
        if self.console.is_terminal:
            code = subprocess.run(
                command, stdin=subprocess.DEVNULL, timeout=AGENT_TIMEOUT_S, check=False
            ).returncode
        else:
            agent = installation.start(command, "agent")
            code = self.follow(agent, STEPS, timeout_s=AGENT_TIMEOUT_S)
        self.check(f"{BOARDS} boards are done", holds=code == 0, detail=f"{time.monotonic() - begun:.1f} s")

    def audit(self, auditor: Peer) -> None:
        """`birthmark-auditor verify`, with its own exit code."""
        command: list[str | Path] = [
            COMMANDS / "birthmark-auditor",
            "verify",
            "--json",
            "--config",
            auditor.config,
        ]
        try:
            printed = run(command)
        except ProgramError as error:
            self.check("birthmark-auditor verify", holds=False, detail=str(error))
            return
        found = json.loads(printed.splitlines()[-1])
        sound = found["clean"] and found["certificates"] == found["stamps"] == BOARDS
        counts = (
            f"{found['tree_size']} entries, {found['certificates']} certificates, {found['stamps']} stamps"
        )
        self.check("birthmark-auditor verify", holds=sound, detail=counts)

    def check_records(self, collected: Collected) -> None:
        """Counts, and what the ledger says of the evidence."""
        self.check(
            f"{BOARDS} certificates, {BOARDS} stamps",
            holds=len(collected.certificates) == BOARDS and collected.stamped == set(collected.certificates),
        )
        issued = [entry for entry in collected.entries if entry["type"] == "issued"]
        counts = Counter(f"{entry['method']} at level {entry['level']}" for entry in issued)
        self.check(
            "the ledger says by what evidence",
            holds=counts == {f"{method} at level key": BOARDS // len(METHODS) for method in METHODS},
            detail=", ".join(f"{count} {what}" for what, count in counts.items()),
        )

    def check_refusals(self, collected: Collected, forgeries: list[Forgery]) -> None:
        """Each forgery is looked up in the ledger, and there are no other refusals."""
        left = {
            index: (entry["code"], entry["chip_id"])
            for index, entry in enumerate(collected.entries)
            if entry["type"] == "refused"
        }
        for forgery in forgeries:
            wanted = (forgery.expected, forgery.chip_id)
            index = next((index for index, found in left.items() if found == wanted), None)
            where = "is not in the ledger" if index is None else f"ledger entry {index}, {forgery.expected}"
            self.check(forgery.what, holds=index is not None, detail=where)
            if index is not None:
                del left[index]
        self.check("no other refusal", holds=not left)

    def check_certificates(self, collected: Collected, farm: BoardFarm) -> None:
        """openssl, a public linter, and the boards' own keys."""
        views = [farm.view(board.number) for board in farm.boards]
        boards = {cbor2.loads(view.config)["serial"]: view for view in views if view.config is not None}
        for serial, path in sorted(collected.certificates.items()):
            verify: list[str | Path] = ["openssl", "verify", "-CAfile", self.folder / "root.pem"]
            self.check_tool(
                f"openssl verify {serial}", [*verify, "-untrusted", self.folder / "chain.pem", path]
            )
            self.check_tool(
                f"lint_pkix_cert {serial}", [COMMANDS / "lint_pkix_cert", "lint", "-s", "ERROR", path]
            )
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            own = boards[serial].spki_sha256 if serial in boards else None
            self.check(f"{serial} holds the board's own key", holds=own == hashlib.sha256(spki).hexdigest())


Make = Callable[[Path], Installation]


@contextmanager
def software_token() -> Iterator[Make]:
    """SoftHSM, which holds every key of signerd's."""
    yield Installation


@contextmanager
def yubikeys() -> Iterator[Make]:
    """One at work, one as its spare; in software."""
    if missing := yubikey.missing():
        raise SystemExit(f"make demo TOKEN=piv: {missing}")
    with VirtualYubiKey(PivCard(serial=11), PivCard(serial=12)) as keys:
        yield lambda directory: YubiKeyInstallation(directory, keys, "9a")


TOKENS = {"softhsm": software_token, "piv": yubikeys}


def main() -> int:
    """Plays the demo in var/demo; returns the exit code."""
    arguments = ArgumentParser(prog="make demo", description=__doc__.partition("\n")[0])
    arguments.add_argument("--token", choices=TOKENS, default="softhsm", help="make demo TOKEN=…")
    token = TOKENS[arguments.parse_args().token]
    begun = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    demo = Demo(FOLDER)
    with token() as make, token() as make_beside, ThreadPoolExecutor() as beside:
        made = beside.submit(Esp32Scene, FOLDER / "esp32", make_beside)  # while the first part is told
        try:
            with make(FOLDER / "installation") as installation:
                demo.play(installation)
            made.result().play(demo)
        finally:
            made.result().close()
    if demo.failures:
        demo.console.print(f"\n[red]{len(demo.failures)} checks failed[/red]: {'; '.join(demo.failures)}")
        return 1
    demo.console.print(f"\n[green]All checks hold[/green], {time.monotonic() - begun:.0f} s. Look at:")
    shown = FOLDER.relative_to(REPOSITORY)
    for name in ("root.pem", "chain.pem", "certificates/", "checkpoint", "log.vkey", "installation/logs/"):
        demo.console.print(f"  {shown / name}")
    for name, what in SHOWN.items():
        demo.console.print(f"  {shown / 'esp32' / name}: {what}")
    demo.console.print(
        f"  openssl verify -CAfile {shown}/root.pem -untrusted {shown}/chain.pem {shown}/certificates/*.pem"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
