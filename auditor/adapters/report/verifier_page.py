"""`verify.html`: one page that verifies production files in a browser, without any network."""

from __future__ import annotations

from importlib.resources import files

NAME = "verify.html"


def verifier_page() -> bytes:
    """The page."""
    return files(__package__).joinpath(NAME).read_bytes()
