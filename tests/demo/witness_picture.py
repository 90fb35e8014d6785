"""Draws the documentation's picture of a witness: `python -m demo.witness_picture docs/images`.

A witness runs on a port of its own. A log grows before it, and then signs a second history. The picture is of
its commands and their real output, as a terminal shows it. `witness-picture.json` beside it says from which
files it was drawn. A test compares it.
"""

from __future__ import annotations

import hashlib
import html
import json
import sys
import tempfile
from pathlib import Path

from PIL import Image

from auditor.adapters import witness_server
from auditor.cli import witness as cli
from demo.report_pictures import picture, sized
from harness import running_witness
from harness.process import wait_until
from harness.running_witness import Log, Witness, command
from harness.served_page import chromium

NOTED = "witness-picture.json"
PICTURE = "witness"
_SIZE = (940, 10)  # px; as high as its lines
_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #1e1e1e }}
pre {{ margin: 0; padding: 16px; color: #d4d4d4; font: 13px/1.45 "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere }}
b {{ color: #8fd18f; font-weight: normal }} i {{ color: #f0a0a0; font-style: normal }}
</style><pre>{}</pre>"""


def content_hash() -> str:
    """Over what the picture shows."""
    digest = hashlib.sha256()
    for module in (cli, witness_server, running_witness):
        content = Path(str(module.__file__)).read_bytes().replace(b"\r\n", b"\n")
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def main(folder: Path) -> None:
    """Writes the picture, and what it was drawn from."""
    with tempfile.TemporaryDirectory() as scratch, chromium(*_SIZE) as browser:
        page = Path(scratch) / "page.html"
        page.write_text(_PAGE.format("\n".join(session(Path(scratch)))), encoding="utf-8")
        sized(browser, _SIZE)
        browser.get(page.as_uri())
        height = browser.execute_script("return document.querySelector('pre').offsetHeight")
        sized(browser, (_SIZE[0], int(height)))
        data = picture(browser)
    (folder / f"{PICTURE}.png").write_bytes(data)
    print(PICTURE, len(data), Image.open(folder / f"{PICTURE}.png").size)
    (folder / NOTED).write_text(json.dumps({"drawn_from": content_hash()}) + "\n", encoding="utf-8")


def session(folder: Path) -> list[str]:
    """Lines of HTML."""
    log, other = Log(), Log()
    witness = Witness(folder, log)
    try:
        log.grow(2_048)
        witness.cosigns(0)
        log.grow(31)
        witness.cosigns(2_048)
        other.grow(log.tree.size, b"another history")
        witness.post(other.body(log.tree.size))
        wait_until(lambda: len(witness.events()) == 4, "four lines", program=witness.process)
        lines = witness.process.output().splitlines()
        shown = command("show", "--dir", witness.folder).splitlines()
    finally:
        witness.process.stop()
    said = [html.escape(line) for line in lines]
    said[-1] = f"<i>{said[-1]}</i>"
    run = f"birthmark-auditor witness run --dir witness --listen 127.0.0.1:{witness.port}"
    again = "birthmark-auditor witness show --dir witness"
    return [f"<b>$ {run}</b>", *said, f"<b>$ {again}</b>", *map(html.escape, shown)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
