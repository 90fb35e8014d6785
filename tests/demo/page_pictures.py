"""Draws the documentation's pictures of the page of tiles: `python -m demo.page_pictures docs/images`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from selenium.webdriver.support.ui import WebDriverWait

from harness.factory_floor import busy_floor
from harness.served_page import TIMEOUT_S, ServedPage, chromium

_SIZE = (1280, 800)  # a tablet's
_COLOURS = 64  # flat tiles need no more, and the file is a third


def main(folder: Path) -> None:
    """Writes page-4-ports.png and page-16-ports.png."""
    with chromium(*_SIZE) as browser:
        for ports in (4, 16):
            with ServedPage(busy_floor(ports)) as page:
                browser.get(page.url)
                WebDriverWait(browser, TIMEOUT_S).until(
                    lambda driver: driver.execute_script("return !document.body.classList.contains('lost')")
                )
                picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
            path = folder / f"page-{ports}-ports.png"
            picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
            print(path, path.stat().st_size)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
