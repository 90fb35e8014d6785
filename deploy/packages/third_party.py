#!/usr/bin/env python3
"""Lists what a program's environment carries: name, version and licence of each Python package, and where the
licence's text is. `third_party.py usr/lib/birthmark/agent` prints it for /usr/share/doc."""

from __future__ import annotations

import sys
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

_TEXTS = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "licenses/**/*")


def licence(metadata: Message) -> str:
    """What the package says of itself: an SPDX expression, else its classifiers, else one line of its own."""
    if expression := metadata["License-Expression"]:
        return str(expression)
    classifiers = [
        each.rpartition(" :: ")[2] for each in metadata.get_all("Classifier", []) if "License" in each
    ]
    return ", ".join(classifiers) or str(metadata["License"] or "see its files").splitlines()[0]


def described(environment: Path) -> str:
    """A paragraph for each package, in the order of their names."""
    lines = []
    for folder in sorted(
        environment.glob("lib/*/site-packages/*.dist-info"), key=lambda each: each.name.lower()
    ):
        metadata = HeaderParser().parsestr((folder / "METADATA").read_text("utf-8"))
        texts = sorted({path for each in _TEXTS for path in folder.glob(each) if path.is_file()})
        lines.append(f"{metadata['Name']} {metadata['Version']}: {licence(metadata)}")
        lines += [f"    {path.relative_to(environment.parent)}" for path in texts]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(described(Path(sys.argv[1])))
