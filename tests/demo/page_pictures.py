"""Draws the documentation's pictures of the page: `python -m demo.page_pictures docs/images`.

`page-pictures.json` beside them says from which files of the page and which data they were drawn. A test
compares it. Pixels are not compared: they are the fonts' of a machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import WebDriverWait

from agent.adapters.shown.page import server
from harness import factory_floor, page_views, shift
from harness.page_views import BOARD, FLOORS, SIZES, SLOW_STEP, write_journal
from harness.served_page import TIMEOUT_S, ServedPage, chromium

MAX_BYTES = 150_000
NOTED = "page-pictures.json"
_COLOURS = 160  # flat tiles need no more, and the file is a third
_WIDEST = 1_920  # px of a picture; a wall's is made smaller
_SHOWN = """
const {dataset, classList} = document.body;
return dataset.asked || !dataset.page && !classList.contains('lost');
"""
_SCROLL = "document.getElementById(arguments[0]).scrollIntoView()"
PICTURES = {  # name: floor, path and perhaps where on it, size
    "page-phone": ("sixteen", "", "phone"),
    "page-upright-line-down": ("line down", "", "upright"),
    "page-16-ports": ("sixteen", "", "tablet"),
    "page-4-ports": ("four", "", "tablet"),
    "page-64-ports": ("sixty-four", "", "screen"),
    "page-wall": ("sixteen", "", "wall"),
    "page-shift": ("one", "shift", "tablet"),
    "page-step-times": ("one", f"shift#by-port-{SLOW_STEP}", "phone"),
    "page-board": ("one", f"boards/{BOARD}", "phone"),
}


def content_hash() -> str:
    """Over all that the pictures show: the page's files, the data, and this list."""
    files = sorted(p for p in Path(server.__file__).parent.iterdir() if p.suffix in {".html", ".css", ".js"})
    made = [Path(str(module.__file__)) for module in (factory_floor, page_views, shift)]
    digest = hashlib.sha256(json.dumps(PICTURES).encode())
    for path in (*files, *made):
        digest.update(hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).digest())
    return digest.hexdigest()


def main(folder: Path) -> None:
    """Writes the pictures, and what they were drawn from."""
    with tempfile.TemporaryDirectory() as scratch, chromium(*SIZES["tablet"]) as browser:
        browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "UTC"})
        journal = Path(scratch) / "journal.sqlite"
        write_journal(journal)
        for name, (floor, path, size) in PICTURES.items():
            with ServedPage(FLOORS[floor](), journal=journal) as page:
                data = _picture(browser, page.url + path, SIZES[size])
            if len(data) > MAX_BYTES:
                raise SystemExit(f"{name}: {len(data)} bytes, at most {MAX_BYTES}")
            (folder / f"{name}.png").write_bytes(data)
            print(name, len(data))
    (folder / NOTED).write_text(json.dumps({"drawn_from": content_hash()}) + "\n", encoding="utf-8")


def _picture(browser: Chrome, url: str, size: tuple[int, int]) -> bytes:
    width, height = size
    inner = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", inner)
    browser.get("about:blank")
    browser.get(url)
    WebDriverWait(browser, TIMEOUT_S).until(lambda driver: driver.execute_script(_SHOWN))
    if place := urlsplit(url).fragment:
        browser.execute_script(_SCROLL, place)
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    picture.thumbnail((_WIDEST, _WIDEST))
    out = io.BytesIO()
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
