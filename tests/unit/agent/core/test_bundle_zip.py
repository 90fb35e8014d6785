"""The bundle's file: what is packed is unpacked; what is refused is refused for its own reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.bundle import MAX_BUNDLE_BYTES, MAX_IMAGE_BYTES, MAX_IMAGES, BundleError
from agent.core.bundle_zip import pack, unpack

ENTRIES = {"manifest.json": b"{}", "manifest.sig": bytes(64), "images/app.bin": b"app" * 100}
DATA = pack(ENTRIES)
LOCAL_BYTES = 30  # of an entry's header without its name


@given(
    st.dictionaries(
        st.from_regex(r"images/[a-z0-9-]{1,32}\.bin", fullmatch=True), st.binary(max_size=50), min_size=1
    )
)
def test_what_is_packed_is_unpacked(entries: dict[str, bytes]) -> None:
    if len(entries) <= MAX_IMAGES:
        assert list(unpack(pack(entries)).items()) == list(entries.items())


@pytest.mark.parametrize(
    "name",
    [
        "",
        "manifest",
        "manifest.json ",
        "images/.bin",
        "images/A.bin",
        "images/../a.bin",
        "images/a",
        "/a",
        "ä",
    ],
)
def test_no_other_names_are_packed(name: str) -> None:
    with pytest.raises(BundleError, match="no entry of a bundle"):
        pack({name: b""})


def test_what_is_too_large_is_not_packed() -> None:
    half = bytes(MAX_IMAGE_BYTES)
    assert len(pack({"images/a.bin": half})) < MAX_BUNDLE_BYTES
    with pytest.raises(BundleError, match=r"images/a\.bin is larger than 33554432"):
        pack({"images/a.bin": half + b"\x00"})
    with pytest.raises(BundleError, match=r"^larger than 67108864"):
        pack({"images/a.bin": half, "images/b.bin": half})


def repeated(data: bytes, times: int) -> bytes:
    """The first entry, so many times, under names of the same length."""
    return b"".join(data[:LOCAL_BYTES] + f"images/{n:02}.bin".encode() for n in range(times))


ONE = pack({"images/00.bin": b""})

REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "too-large": (lambda: bytes(MAX_BUNDLE_BYTES + 1), "^larger than 67108864 bytes$"),
    "too-many": (lambda: repeated(ONE, MAX_IMAGES + 3), f"more than {MAX_IMAGES} images"),
    "twice": (lambda: repeated(ONE, 1) * 2, r"images/00\.bin stands in it twice"),
    "cut-in-a-header": (lambda: DATA[:20], "cut off within an entry's header"),
    "cut-in-a-name": (lambda: DATA[: LOCAL_BYTES + 5], "an entry that no bundle has"),
    "cut-in-an-entry": (lambda: DATA[: LOCAL_BYTES + 14], r"cut off within manifest\.json"),
    "another-name": (lambda: DATA.replace(b"app.bin", b"app.exe"), "an entry that no bundle has"),
    "no-directory": (lambda: DATA[: DATA.index(b"PK\x01\x02")], "damaged or cut off"),
    "nothing": (lambda: b"", "does not begin with a zip entry"),
    "no-zip": (lambda: b"\x7fELF" + DATA, "does not begin with a zip entry"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused(case: str) -> None:
    make, text = REFUSED[case]
    with pytest.raises(BundleError, match=text):
        unpack(make())


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        unpack(data)


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_header_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        unpack(DATA[:LOCAL_BYTES] + data)
