"""Firmware versions, compared as docs/formats.md says under "Names and bounds"; signerd does it so too."""

from __future__ import annotations

import re

_VERSION = re.compile(r"(?P<numbers>[0-9]{1,10}(?:\.[0-9]{1,10}){0,3})(?:-(?P<tag>[A-Za-z0-9.-]+))?")
_MAX_CHARACTERS = 32

# Orders like the version that it was made from.
VersionKey = tuple[tuple[int, ...], bool, str]


def version_key(text: str) -> VersionKey:
    """A key that sorts versions: missing numbers count as 0, a tagged version is older than its release.

    Raises:
        ValueError: the text is not a version.
    """
    match = _VERSION.fullmatch(text) if len(text) <= _MAX_CHARACTERS else None
    if match is None:
        raise ValueError(f"not a firmware version: {text[:_MAX_CHARACTERS]!r}")
    numbers = [int(number) for number in match["numbers"].split(".")]
    if max(numbers) > 0xFFFFFFFF:
        raise ValueError("a number of the version is beyond 32 bits")
    tag = match["tag"]
    return (*numbers, *[0] * (4 - len(numbers))), tag is None, tag or ""
