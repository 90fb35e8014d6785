"""Names of ports: the end tells them apart, and no two are shown alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.port_names import by_place, short_names

BY_PATH = [f"/dev/serial/by-path/pci-0000:00:14.0-usb-0:1.{n}:1.0-port0" for n in range(1, 17)]
HUBS = [f"usb-1-1.{n}:1.0" for n in range(1, 17)]


def test_sixteen_paths_lose_what_they_share_and_keep_their_ends() -> None:
    assert list(short_names(BY_PATH).values()) == [f"1.{n}:1.0-port0" for n in range(1, 17)]


def test_a_narrow_column_still_tells_sixteen_ports_apart() -> None:
    assert list(short_names(BY_PATH, width=8).values()) == [f"1.{n}" for n in range(1, 17)]


@pytest.mark.parametrize(
    ("names", "shorts"),
    [
        (["/dev/ttyUSB0", "/dev/ttyUSB1"], ["ttyUSB0", "ttyUSB1"]),
        (["/dev/ttyUSB0"], ["ttyUSB0"]),
        (["usb-1-1.2:1.0", "usb-1-1.10:1.0"], ["1.2:1.0", "1.10:1.0"]),
        (["usb-1-1.2:1.0", "usb-2-1.2:1.0"], ["1-1.2:1.0", "2-1.2:1.0"]),
        (["usb-1-1.2", "usb-1-1.2#2"], ["1.2", "1.2#2"]),
        (["/dev/a/", "/dev/a/b"], ["a/", "a/b"]),
        (["left", "left-2"], ["left", "left-2"]),
        (["COM3", "COM12"], ["COM3", "COM12"]),
        (["/dev/x/3", "3"], ["/dev/x/3", "3"]),
        ([], []),
    ],
)
def test_what_is_cut(names: list[str], shorts: list[str]) -> None:
    assert list(short_names(names).values()) == shorts


def test_the_end_of_a_long_name_is_kept() -> None:
    name = "/dev/serial/by-id/usb-Silicon_Labs_CP2102N_USB_to_UART_Bridge_Controller_0001-if00-port0"
    assert short_names([name], width=12)[name] == "…-if00-port0"


def test_ports_are_in_the_order_in_which_people_count() -> None:
    assert sorted(HUBS, key=by_place) == HUBS != sorted(HUBS)


@given(
    st.sets(st.text("/usb-:.1ab_…#", min_size=1, max_size=40), min_size=1, max_size=30),
    st.none() | st.integers(6, 20),
)
def test_no_two_ports_have_one_name_and_none_is_too_long(names: set[str], width: int | None) -> None:
    shorts = short_names(names, width)
    assert shorts.keys() == names
    assert len(set(shorts.values())) == len(names)
    assert width is None or all(0 < len(short) <= width for short in shorts.values())
