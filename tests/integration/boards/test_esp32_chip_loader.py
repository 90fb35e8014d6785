"""The simulated loader by itself: frames, checksums, and that no frame at all makes it fall over."""

import functools
import itertools
import operator
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boards.esp32 import slip
from boards.esp32.commands import SYNC_WIRE, Op, checksum
from boards.esp32.efuses import Efuses
from boards.esp32.family import FAMILIES
from boards.esp32.flash import Flash
from boards.esp32.power import PowerSupply
from boards.esp32.reed_solomon import check_bytes
from boards.esp32.rom import Leave, Loader, Took
from harness.esp32_bench import MAC

_FLASH_SIZE = 1 << 16


def _loader(family: str = "esp32c3", *, stub: bool = False) -> tuple[Loader, Flash]:
    supply = PowerSupply()
    flash = Flash(_FLASH_SIZE, supply=supply)
    efuses = Efuses(FAMILIES[family].efuses, mac=MAC, supply=supply)
    loader = Loader(FAMILIES[family], flash, efuses)
    if stub:
        assert _ask(loader, Op.MEM_END, struct.pack("<II", 0, 0x40380000)).frames[1] == b"OHAI"
    return loader, flash


def _ask(loader: Loader, op: int, body: bytes = b"", check: int = 0) -> Took:
    return loader.handle(struct.pack("<BBHI", 0, op, len(body), check) + body)


def _status(took: Took, *, data: int = 0) -> bytes:
    return took.frames[0][8 + data : 10 + data]


def _block(data: bytes, sequence: int = 0) -> tuple[bytes, int]:
    return struct.pack("<IIII", len(data), sequence, 0, 0) + data, checksum(data)


@given(data=st.binary(max_size=3000))
def test_the_checksum_is_the_exclusive_or(data: bytes) -> None:
    assert checksum(data) == functools.reduce(operator.xor, data, 0xEF)


@given(frames=st.lists(st.binary(min_size=1, max_size=60), max_size=5), cuts=st.lists(st.integers(0, 300)))
def test_frames_survive_the_line_however_it_is_cut(frames: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(slip.encode(frame) for frame in frames)
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    decoder = slip.SlipDecoder()
    got = [frame for start, end in itertools.pairwise(edges) for frame in decoder.feed(wire[start:end])]
    assert got == frames


def test_noise_between_frames_is_no_frame_of_the_host() -> None:
    loader, _ = _loader()
    frames = slip.SlipDecoder().feed(b"\x00noise" + SYNC_WIRE + b"\xff" + SYNC_WIRE)
    assert [len(loader.handle(frame).frames) for frame in frames] == [0, 8, 0, 8]


@settings(max_examples=300)
@given(
    family=st.sampled_from(sorted(FAMILIES)),
    stub=st.booleans(),
    frames=st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                lambda op, body, check: struct.pack("<BBHI", 0, op, len(body), check) + body,
                st.one_of(st.sampled_from(sorted(Op)), st.integers(0, 255)),
                st.one_of(
                    st.binary(max_size=48),
                    st.lists(st.sampled_from([0, 1, 16, 0x100, 0x1000, 0xFFFF, 0xFFFFFFFF]), max_size=6).map(
                        lambda words: struct.pack(f"<{len(words)}I", *words)
                    ),
                ),
                st.integers(0, 0xFFFFFFFF),
            ),
        ),
        max_size=6,
    ),
)
def test_no_frame_makes_the_loader_fall_over(family: str, stub: bool, frames: list[bytes]) -> None:
    loader, flash = _loader(family, stub=stub)
    for frame in frames:
        took = loader.handle(frame)
        assert took.before_s >= 0
        assert took.after_s >= 0
    assert len(flash.read(0, _FLASH_SIZE)) == _FLASH_SIZE


@pytest.mark.parametrize("stub", [True, False])
@pytest.mark.parametrize("damage", [0, 1])
def test_a_block_with_a_wrong_checksum_is_not_written(stub: bool, damage: int) -> None:
    loader, flash = _loader(stub=stub)
    _ask(loader, Op.FLASH_BEGIN, struct.pack("<IIIII", 0x400, 1, 0x400, 0x1000, 0))
    body, check = _block(bytes(0x400))
    took = _ask(loader, Op.FLASH_DATA, body, check ^ damage)

    assert _status(took) == ((b"\x01\xc1" if stub else b"\x01\x07") if damage else b"\x00\x00")
    assert flash.read(0x1000, 0x400) == (b"\xff" if damage else b"\x00") * 0x400


@pytest.mark.parametrize("offset", [_FLASH_SIZE - 0x1000, _FLASH_SIZE])
def test_a_write_beyond_the_flash_is_refused(offset: int) -> None:
    loader, _ = _loader()
    took = _ask(loader, Op.FLASH_BEGIN, struct.pack("<IIIII", 0x1000, 4, 0x400, offset, 0))
    assert _status(took) == (b"\x00\x00" if offset < _FLASH_SIZE else b"\x01\x08")


def test_the_stub_reports_what_does_not_inflate_with_the_next_command() -> None:
    loader, _ = _loader(stub=True)
    _ask(loader, Op.FLASH_DEFL_BEGIN, struct.pack("<IIIII", 0x400, 1, 0x4000, 0, 0))
    assert _status(_ask(loader, Op.FLASH_DEFL_DATA, *_block(b"no stream"))) == b"\x00\x00"
    assert _status(_ask(loader, Op.FLASH_DEFL_END, struct.pack("<I", 1))) == b"\x01\xc7"


def test_the_rom_reports_it_at_once() -> None:
    loader, _ = _loader()
    _ask(loader, Op.FLASH_DEFL_BEGIN, struct.pack("<IIIII", 0x400, 1, 0x4000, 0, 0))
    assert _status(_ask(loader, Op.FLASH_DEFL_DATA, *_block(b"no stream"))) == b"\x01\x0b"


@pytest.mark.parametrize("announced", [0x1000, 0xFFC])
def test_no_more_is_written_than_was_announced(announced: int) -> None:
    loader, _ = _loader()
    _ask(loader, Op.FLASH_DEFL_BEGIN, struct.pack("<IIIII", announced, 1, 0x4000, 0, 0))
    took = _ask(loader, Op.FLASH_DEFL_DATA, *_block(zlib.compress(bytes(0x1000))))
    assert _status(took) == (b"\x00\x00" if announced == 0x1000 else b"\x01\x0b")


def test_reading_sends_a_window_ahead_of_what_was_acknowledged() -> None:
    loader, flash = _loader(stub=True)
    flash.program(0, bytes(range(256)))
    took = _ask(loader, Op.READ_FLASH, struct.pack("<IIII", 0, 0x500, 0x100, 2))
    sent = took.frames[1:]
    assert [len(frame) for frame in sent] == [0x100, 0x100]
    received = 0
    for _ in range(5):
        received += 0x100
        sent += loader.handle(received.to_bytes(4, "little")).frames
    assert b"".join(sent[:5]) == flash.read(0, 0x500)
    assert len(sent[5]) == 16  # the digest


@pytest.mark.parametrize("stub", [True, False])
def test_an_unknown_command_is_answered_as_the_loader_does(stub: bool) -> None:
    loader, _ = _loader("esp32", stub=stub)
    took = _ask(loader, Op.GET_SECURITY_INFO)
    if stub:
        assert [frame[1] for frame in took.frames] == [Op.GET_SECURITY_INFO]
        assert _status(took) == b"\x01\xc3"
    else:
        assert len(took.frames) == 8
        assert Op.GET_SECURITY_INFO not in {frame[1] for frame in took.frames}
        assert _status(took) == b"\x01\x05"


@pytest.mark.parametrize("locked", [False, True], ids=["open", "secure-download"])
@pytest.mark.parametrize(
    ("op", "body"),
    [
        (Op.READ_REG, struct.pack("<I", 0x40001000)),
        (Op.WRITE_REG, struct.pack("<IIII", 0x3FC80000, 1, 0xFFFFFFFF, 0)),
        (Op.READ_FLASH_SLOW, struct.pack("<II", 0, 16)),
        (Op.SPI_FLASH_MD5, struct.pack("<IIII", 0, 16, 0, 0)),
        (Op.MEM_BEGIN, struct.pack("<IIII", 4, 1, 4, 0x40380000)),
        (Op.MEM_END, struct.pack("<II", 0, 0x40380000)),
    ],
    ids=lambda value: value.name if isinstance(value, Op) else "",
)
def test_secure_download_takes_reading_and_running_away(op: Op, body: bytes, locked: bool) -> None:
    supply = PowerSupply()
    efuses = Efuses(FAMILIES["esp32c3"].efuses, mac=MAC, supply=supply)
    if locked:
        efuses.burn("ENABLE_SECURITY_DOWNLOAD", 1)
    loader = Loader(FAMILIES["esp32c3"], Flash(_FLASH_SIZE, supply=supply), efuses)
    took = _ask(loader, op, body)

    assert (op in {frame[1] for frame in took.frames}) is not locked
    assert loader.stub is (op is Op.MEM_END and not locked)


@pytest.mark.parametrize(("stay", "leave"), [(1, None), (0, Leave.TO_ROM)])
def test_the_stub_ends_where_the_host_says(stay: int, leave: Leave | None) -> None:
    loader, _ = _loader(stub=True)
    _ask(loader, Op.FLASH_BEGIN, struct.pack("<IIIII", 0, 0, 0x4000, 0, 0))
    assert _ask(loader, Op.FLASH_END, struct.pack("<I", stay)).leave is leave


def test_check_bytes_of_an_empty_block_are_empty_and_the_code_is_linear() -> None:
    a, b = bytes(range(32)), bytes(range(100, 132))
    both = bytes(x ^ y for x, y in zip(a, b, strict=True))
    assert check_bytes(bytes(32)) == bytes(12)
    assert check_bytes(both) == bytes(x ^ y for x, y in zip(check_bytes(a), check_bytes(b), strict=True))
