"""The ESP32 scene: empty chips become locked, stamped and labelled products; wrong firmware is not written.

esptool is the real one; the chips are simulated, with ROM loader, flash, eFuses and ESP-IDF's first boot.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zxingcpp
from PIL import Image

from birthmark.v1 import audit_pb2
from boards.esp32.signing import SigningKey
from demo.story import Story
from harness.esp32_line import AGENT, Company, Esp32Line, Esp32Run
from harness.installation import Installation

FAMILY = "esp32s3"
CHIPS = 2
TIMEOUT_S = 60.0
STEPS = frozenset({"flash", "keygen", "sign", "seal", "first-boot", "stamp", "label"})
PLACES = ("A1", "A2")
# What `play_esp32` leaves in its folder.
SHOWN = {
    "labels/": "what is stuck on each board; a phone reads the code",
    "page.json": "what the page of tiles said while the chips were worked on (docs/images/page-4-ports.png)",
    "report.svg": "where the seconds went",
    "sensor.zip": "the bundle: .venv/bin/birthmark-agent bundle show FILE",
}
CLOSED = """
[[burn]]
name = "ENABLE_SECURITY_DOWNLOAD"
value = 1
when = "first-boot"
"""


class Esp32Scene:
    """An installation, a company with the bundle of its product, and another company with another one.

    Making it takes some seconds of two programs' work; it can be made while something else is told.
    """

    def __init__(self, folder: Path, make: Callable[[Path], Installation]) -> None:
        folder.mkdir()
        self.folder = folder
        self.line = Esp32Line(folder / "line", FAMILY, SigningKey.make(folder), make)
        try:
            self.bundle = self.line.company.bundle("closed", self.line.images, CLOSED)
            shutil.copy(self.bundle.path, folder / "sensor.zip")
            self.other = Company(self.line.directory / "other", FAMILY, None)
            self.foreign = self.other.bundle("foreign", self.other.images(project="trojan"))
        except BaseException:
            self.close()
            raise

    def play(self, story: Story) -> None:
        """Leaves what `SHOWN` names in the folder."""
        story.tell(f"the ESP32 line: a company's signed bundle for {FAMILY}, named by the work order")
        shown = subprocess.run(
            [AGENT, "bundle", "show", self.bundle.path], capture_output=True, text=True, check=True
        )
        for row in shown.stdout.splitlines():
            story.console.print(f"  {row}")
        run = self._make_products(story)
        report: list[str | Path] = [
            AGENT,
            "report",
            "--config",
            run.config,
            "--plot",
            self.folder / "report.svg",
        ]
        drawing = self.line.installation.start(report, "report")
        self._check_products(story, run)
        self._check_labels(story, run)
        self._refuse_others(story)
        story.check("birthmark-agent report --plot", holds=drawing.wait(TIMEOUT_S) == 0)
        story.check("birthmark-auditor verify", holds=self.line.verify() != "")

    def close(self) -> None:
        """Ends all its programs."""
        self.line.installation.__exit__(None, None, None)

    def _make_products(self, story: Story) -> Esp32Run:
        story.tell(
            f"birthmark-agent: {CHIPS} empty chips, flashed, certified, locked and labelled with real esptool"
        )
        page = f"127.0.0.1:{_free_port()}"
        run = self.line.new_run(chips=CHIPS, bundle=self.bundle, config=f'[page]\nlisten = "{page}"\n')
        _name_places(run)
        for chip, place in zip(run.farm.chips, PLACES, strict=True):
            story.console.print(
                f"  {place}: {chip.chip_id}, {run.farm.show(chip.number)['flash_bytes']} bytes in flash"
            )
        glimpse = _Glimpse(page)
        code = story.follow(run.start_agent(), STEPS, timeout_s=TIMEOUT_S, glance=glimpse)
        story.check(f"{CHIPS} products are done", holds=code == 0)
        (self.folder / "page.json").write_text(json.dumps(glimpse.state, indent=2), encoding="utf-8")
        tiles = [port["port"] for port in glimpse.state.get("ports", [])]
        story.check("the page showed a tile for each place", holds=sorted(tiles) == sorted(PLACES))
        return run

    def _check_products(self, story: Story, run: Esp32Run) -> None:
        records = {record.chip_id: record for record in self.line.records(run)}
        for chip in run.farm.chips:
            shown, record = run.farm.show(chip.number), records.get(chip.chip_id)
            stamped = record is not None and record.state == audit_pb2.RECORD_STATE_STAMPED
            story.check(
                f"{chip.chip_id} is certified once, and stamped", holds=stamped and len(records) == CHIPS
            )
            locks = ", ".join(name for name, closed in shown["locks"].items() if closed)
            sealed = (
                all(shown["locks"].values()) and shown["nvs_encrypted"] and shown["firmware"] == "application"
            )
            story.check(f"{chip.chip_id} runs the application", holds=sealed, detail=f"closed: {locks}")
            story.check_tool("esptool cannot read its flash", self._read_flash(chip.port), refuses=True)

    def _check_labels(self, story: Story, run: Esp32Run) -> None:
        shutil.copytree(self.line.directory / run.work_order / "labels", self.folder / "labels")
        for path in sorted((self.folder / "labels").iterdir()):
            with Image.open(path) as picture:
                codes = zxingcpp.read_barcodes(picture.convert("L"))
            holds = len(codes) == 1 and {"name", "pop", "transport"} <= json.loads(codes[0].text).keys()
            story.check(f"label {path.name} can be scanned", holds=holds)

    def _refuse_others(self, story: Story) -> None:
        story.tell("wrong firmware, on a chip that is empty")
        run = self.line.new_run(bundle=self.foreign, order_bundle=self.bundle)
        before = _matter(run)

        agent = run.start_agent()
        code, said = agent.wait(TIMEOUT_S), agent.errors().strip().splitlines()
        story.check("a bundle that another company signed stops the station", holds=code == 3, detail=said[0])

        config = run.config.read_text(encoding="utf-8")
        run.config.write_text(
            config.replace(str(self.line.company.public_key_file), str(self.other.public_key_file)), "utf-8"
        )
        agent = run.start_agent()
        agent.wait(TIMEOUT_S)
        (result,) = run.results()
        story.check(
            "with that company's key on the station, signerd's word still counts",
            holds=result["code"] == "bundle_differs",
            detail=f"{result['code']}: {result['detail']}",
        )
        story.check(
            "nothing was written: flash and eFuses are what they were",
            holds=_matter(run) == before,
            detail=_said(before),
        )
        story.check_tool(
            "esptool reads its flash: the chip is open", self._read_flash(run.farm.chips[0].port)
        )

    def _read_flash(self, port: str) -> list[str | Path]:
        command = [sys.executable, "-m", "esptool", "--chip", FAMILY, "--port", port]
        return [*command, "read-flash", "0", "4096", self.line.directory / "read.bin"]


def _name_places(run: Esp32Run) -> None:
    names = zip(run.farm.chips, PLACES, strict=True)
    lines = "".join(f'"{chip.port}" = "{place}"\n' for chip, place in names)
    run.config.write_text(f"{run.config.read_text(encoding='utf-8')}\n[places]\n{lines}", encoding="utf-8")


def _matter(run: Esp32Run) -> dict[str, Any]:
    shown = run.farm.show(0)
    return {name: shown[name] for name in ("flash_sha256", "flash_bytes", "efuses_sha256", "efuse_words")}


def _said(matter: dict[str, Any]) -> str:
    return f"{matter['flash_bytes']} bytes ever flashed, and {matter['efuse_words']} eFuse words, as it came"


class _Glimpse:
    """The page as a tablet sees it: the last state in which each place was worked on."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}/api/state"
        self.state: dict[str, Any] = {}

    def __call__(self) -> None:
        try:
            with urllib.request.urlopen(self._url, timeout=1.0) as answer:
                self.state = json.load(answer)
        except OSError:
            return  # not there yet, or no more


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
