#!/usr/bin/env python3
"""Puts the digests of built wheels into requirement files, in place of those of their source.

lock_wheels.py WHEELS FILE…
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path


def main(wheels: Path, files: list[Path]) -> None:
    """Rewrites the files."""
    for file in files:
        text = file.read_text("utf-8")
        for wheel in sorted(wheels.glob("*.whl")):
            name, version, *_ = wheel.name.split("-")
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            entry = rf"(?m)^({re.escape(name)}=={re.escape(version)}[^\n]*?)(?: \\\n    --hash=\S+)+$"
            text = re.sub(entry, rf"\1 \\\n    --hash=sha256:{digest}", text)
        file.write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(each) for each in sys.argv[2:]])
