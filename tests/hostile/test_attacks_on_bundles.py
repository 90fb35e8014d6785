"""Zip files that say one thing to one reader and another to the next, or want too much of a station.

Each begins with a bundle that verifies, and changes one thing that the signature does not cover.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.bundle import MAX_BUNDLE_BYTES, MAX_IMAGES, BundleError
from agent.core.bundle_verify import verify_bundle
from agent.core.bundle_zip import pack, unpack
from harness.bundle_samples import Sample, sample

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


@cache
def good() -> Sample:
    return sample()


@cache
def data() -> bytes:
    return good().signed()


def verify(changed: bytes) -> None:
    verify_bundle(changed, good().key.public_key())


def end_at() -> int:
    return data().rindex(_END)


def central_at() -> int:
    return int(struct.unpack_from("<I", data(), end_at() + 16)[0])


def with_bytes(position: int, value: bytes) -> bytes:
    return data()[:position] + value + data()[position + len(value) :]


def rezipped(change: Callable[[zipfile.ZipInfo], None], *, deflated: bool = False) -> bytes:
    """The same entries, written by Python's zipfile with something else in each header."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in unpack(data()).items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100644 << 16
            change(entry)
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED)
    return file.getvalue()


def streamed() -> bytes:
    """Written to a pipe: sizes stand behind each entry, in data descriptors."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    file = Pipe()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in unpack(data()).items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def with_second(name: str) -> bytes:
    """One more entry of that name, whose content another reader might take."""
    file = io.BytesIO(data())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"evil")
    return file.getvalue()


def hidden_entry() -> bytes:
    """An entry between the others that the central directory does not list."""
    other = pack({"images/other.bin": b"evil"})
    local = other[: other.index(_CENTRAL)]
    return data()[: central_at()] + local + shifted_directory(len(local))


def shifted_directory(by: int) -> bytes:
    tail = bytearray(data()[central_at() :])
    struct.pack_into("<I", tail, len(tail) - 22 + 16, central_at() + by)
    return bytes(tail)


def in_order(*first: str) -> bytes:
    """The same entries, these before all others."""
    entries = unpack(data())
    rest = [name for name in entries if name not in first]
    return pack({name: entries[name] for name in (*first, *rest)})


ATTACKS: dict[str, Callable[[], bytes]] = {
    "bytes-before": lambda: b"MZ" + data(),
    "an-entry-before": lambda: pack({"images/other.bin": b"evil"}) + data(),
    "bytes-behind": lambda: data() + b"\x00",
    "a-second-bundle-behind": lambda: data() + data(),
    "a-comment": lambda: with_bytes(len(data()) - 2, b"\x04\x00") + b"evil",
    "bytes-between": lambda: data()[: central_at()] + b"evil" + shifted_directory(4),
    "an-entry-that-is-not-listed": hidden_entry,
    "a-second-manifest": lambda: with_second("manifest.json"),
    "a-second-signature": lambda: with_second("manifest.sig"),
    "a-second-image": lambda: with_second("images/application.bin"),
    "another-file": lambda: with_second("setup.exe"),
    "a-path-upwards": lambda: with_second("images/../../evil.bin"),
    "an-absolute-path": lambda: with_second("/etc/cron.d/evil"),
    "a-path-of-windows": lambda: with_second("images\\evil.bin"),
    "a-name-in-capitals": lambda: with_second("Manifest.json"),
    "a-name-with-a-letter-that-looks-the-same": lambda: with_second("images/аpp.bin"),
    "a-folder": lambda: with_second("images/"),
    "compressed": lambda: rezipped(lambda _entry: None, deflated=True),
    "streamed": streamed,
    "with-a-time": lambda: rezipped(lambda entry: setattr(entry, "date_time", (2026, 1, 1, 0, 0, 0))),
    "with-an-entrys-comment": lambda: rezipped(lambda entry: setattr(entry, "comment", b"evil")),
    "with-an-extra-field": lambda: rezipped(lambda entry: setattr(entry, "extra", b"\x55\x54\x00\x00")),
    "with-a-unicode-path": lambda: rezipped(
        lambda entry: setattr(entry, "extra", struct.pack("<HHBI", 0x7075, 9, 1, 0) + b"evil")
    ),
    "a-symbolic-link": lambda: rezipped(lambda entry: setattr(entry, "external_attr", 0o120777 << 16)),
    "local-name-of-another-entry": lambda: with_bytes(
        data().index(b"images/data.bin", 0, central_at()), b"images/datb.bin"
    ),
    "listed-name-of-another-entry": lambda: with_bytes(
        data().index(b"images/data.bin", central_at()), b"images/datb.bin"
    ),
    "encrypted-says-the-entry": lambda: with_bytes(6, b"\x01\x00"),
    "encrypted-says-the-directory": lambda: with_bytes(central_at() + 8, b"\x01\x00"),
    "utf8-says-the-entry": lambda: with_bytes(6, b"\x00\x08"),
    "deflated-says-the-entry": lambda: with_bytes(8, b"\x08\x00"),
    "deflated-says-the-directory": lambda: with_bytes(central_at() + 10, b"\x08\x00"),
    "another-crc-in-the-entry": lambda: with_bytes(14, b"\x00\x00\x00\x00"),
    "another-crc-in-the-directory": lambda: with_bytes(central_at() + 16, b"\x00\x00\x00\x00"),
    "another-size-in-the-directory": lambda: with_bytes(central_at() + 24, b"\xff\xff\xff\x7f"),
    "zip64-size-in-the-entry": lambda: with_bytes(18, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    "zip64-size-in-the-directory": lambda: with_bytes(central_at() + 20, b"\xff" * 8),
    "uncompressed-size-in-the-entry": lambda: with_bytes(22, b"\xff\xff\xff\x7f"),
    "another-place-in-the-directory": lambda: with_bytes(central_at() + 42, b"\x01\x00\x00\x00"),
    "another-disk": lambda: with_bytes(end_at() + 4, b"\x01\x00"),
    "fewer-entries": lambda: with_bytes(end_at() + 8, b"\x01\x00\x01\x00"),
    "more-entries": lambda: with_bytes(end_at() + 8, b"\xff\xff\xff\xff"),
    "directory-elsewhere": lambda: with_bytes(end_at() + 16, b"\x00\x00\x00\x00"),
    "name-beyond-the-end": lambda: with_bytes(26, b"\xff\xff"),
    "no-end": lambda: data()[: end_at()],
    "no-directory": lambda: data()[: central_at()],
    "half": lambda: data()[: len(data()) // 2],
    "the-last-byte-missing": lambda: data()[:-1],
    "nothing": lambda: b"",
    "an-empty-zip": lambda: _END + bytes(18),
    "too-many-entries": lambda: pack({f"images/{n}.bin": b"" for n in range(MAX_IMAGES + 3)}),
    "too-large": lambda: data() + bytes(MAX_BUNDLE_BYTES),
    "an-image-more": lambda: pack(unpack(data()) | {"images/more.bin": b"evil"}),
    "an-image-fewer": lambda: pack(dict(list(unpack(data()).items())[:-1])),
    "signature-first": lambda: in_order("manifest.sig", "manifest.json"),
    "an-image-first": lambda: in_order("images/data.bin", "manifest.json", "manifest.sig"),
    "an-image-before-the-signature": lambda: in_order("manifest.json", "images/bootloader.bin"),
    "images-in-another-order": lambda: in_order("manifest.json", "manifest.sig", "images/data.bin"),
}


def test_the_bundle_itself_verifies() -> None:
    verify(data())


def test_zipfile_writes_the_same_file() -> None:
    """So each attack that is made with it changes one thing."""
    assert rezipped(lambda _entry: None) == data()


def test_other_readers_see_the_same_in_it() -> None:
    with zipfile.ZipFile(io.BytesIO(data())) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == unpack(data())


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("attack", ATTACKS)
def test_is_refused(attack: str) -> None:
    changed = ATTACKS[attack]()
    assert changed != data()
    with pytest.raises(BundleError):
        verify(changed)


@settings(max_examples=500)
@given(st.data())
def test_no_byte_can_be_changed(draw: st.DataObject) -> None:
    position = draw.draw(st.integers(0, len(data()) - 1))
    difference = draw.draw(st.integers(1, 255))
    with pytest.raises(BundleError):
        verify(with_bytes(position, bytes([data()[position] ^ difference])))


@pytest.mark.parametrize("where", ["entry", "directory", "end", "manifest", "signature"])
def test_no_byte_of_any_header_can_be_changed(where: str) -> None:
    """All of them, one after the other."""
    manifest = len(unpack(data())["manifest.json"])
    begin, length = {
        "entry": (0, 30 + 13),
        "directory": (central_at(), end_at() - central_at()),
        "end": (end_at(), 22),
        "manifest": (43, min(manifest, 400)),
        "signature": (43 + manifest, 30 + 12 + 64),
    }[where]
    for position in range(begin, begin + length):
        with pytest.raises(BundleError):
            verify(with_bytes(position, bytes([data()[position] ^ 0x41])))
