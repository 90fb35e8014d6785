"""Draws the documentation's pictures of a report: `python -m demo.report_pictures docs/images`.

`report-pictures.json` beside them says from which files and data they were drawn. A test compares it.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome

from auditor.adapters.report.verifier_page import verifier_page
from auditor.core.report import form, page, plots
from harness import production_files
from harness.doctored_files import doctored
from harness.paper_certificates import der
from harness.paper_log import vkey
from harness.production_files import files_of, production_file, six_days
from harness.served_page import chromium
from harness.verifier_page import VerifierPage

MAX_BYTES = 150_000
NOTED = "report-pictures.json"
PICTURES = ("report", "verify-holds", "verify-refused")
SIZE, REPORT = (900, 900), (900, 1_700)  # px
_COLOURS = 160


def content_hash() -> str:
    """Over all that the pictures show: the two pages and the data."""
    digest = hashlib.sha256(verifier_page().replace(b"\r\n", b"\n"))
    for module in (page, plots, production_files):
        content = Path(str(module.__file__)).read_bytes().replace(b"\r\n", b"\n")
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def main(folder: Path) -> None:
    """Writes the pictures, and what they were drawn from."""
    with tempfile.TemporaryDirectory() as scratch, chromium(*SIZE) as browser:
        place = Path(scratch)
        for name, data in _pictures(browser, place).items():
            if len(data) > MAX_BYTES:
                raise SystemExit(f"{name}: {len(data)} bytes, at most {MAX_BYTES}")
            (folder / f"{name}.png").write_bytes(data)
            print(name, len(data))
    (folder / NOTED).write_text(json.dumps({"drawn_from": content_hash()}) + "\n", encoding="utf-8")


def _pictures(browser: Chrome, place: Path) -> dict[str, bytes]:
    log = six_days()
    honest = production_file(log, place)
    report, verifier = place / form.PAGE, place / "verify.html"
    report.write_bytes(files_of(honest)[form.PAGE])
    verifier.write_bytes(verifier_page())
    root = sha256(der(log.root.certificate)).hexdigest()
    sized(browser, REPORT)
    browser.get(report.as_uri())
    made = {"report": picture(browser)}
    sized(browser, SIZE)
    shown = VerifierPage(browser, verifier)
    assert shown.verify(honest, vkey(log.log_key), root).state == "holds"
    made["verify-holds"] = picture(browser)
    bad = doctored("a certificate exchanged", honest, place, log)
    assert shown.verify(bad, vkey(log.log_key), root).state == "fails"
    made["verify-refused"] = picture(browser)
    return made


def sized(browser: Chrome, size: tuple[int, int]) -> None:
    """In CSS pixels, whatever the window's frame takes."""
    inner = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", inner)


def picture(browser: Chrome) -> bytes:
    """The page as a PNG of few colours."""
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    out = io.BytesIO()
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
