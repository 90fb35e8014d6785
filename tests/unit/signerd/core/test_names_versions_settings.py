from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.core import strict_cbor
from signerd.core.names import Level, Role, is_chip_id, is_component, is_name, parse_peer_uri
from signerd.core.settings import MAX_SETTINGS_BYTES, encode_settings, with_serial
from signerd.core.strict_cbor import CborError
from signerd.core.version import version_key


def test_peer_uris() -> None:
    station = parse_peer_uri("birthmark://acme/station/plant-1/pc.7")
    assert (station.role, station.site, station.name) == (Role.STATION, "plant-1", "pc.7")
    assert parse_peer_uri("birthmark://acme/auditor/eve").role is Role.AUDITOR


@pytest.mark.parametrize(
    "uri",
    [
        "birthmark://acme/station/plant1/pc1/x",
        "birthmark://acme/station/plant1",
        "birthmark://acme/auditor/",
        "birthmark://acme/admin/root",
        "birthmark://acme/auditor/../station",
        "birthmark://acme/auditor/eve\n",
        "birthmark:///auditor/eve",
        "https://acme/auditor/eve",
        "birthmark://acme/station/" + "a" * 65 + "/pc1",
    ],
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="not a peer URI"):
        parse_peer_uri(uri)


def test_names_are_bounded() -> None:
    assert is_name("a" * 64)
    assert not is_name("a" * 65)
    assert not is_name("")
    assert not is_name(".a")
    assert not is_name("a\n")
    assert is_chip_id("esp32:aa:bb")
    assert not is_chip_id("ünicode")
    assert is_component("secure_boot")
    assert not is_component("a" * 33)


def test_levels_are_ordered() -> None:
    assert Level.NONE < Level.CHIP < Level.KEY
    assert not Level.KEY < Level.CHIP
    with pytest.raises(ValueError, match="no evidence level"):
        Level.from_label("best")


def test_versions_sort() -> None:
    ordered = ["0.9", "1.0-alpha", "1.0-rc.1", "1.0", "1.0.1", "1.2", "1.10", "2"]
    mixed = [ordered[index] for index in (3, 0, 7, 5, 1, 6, 2, 4)]
    assert sorted(mixed, key=version_key) == ordered
    assert version_key("1") == version_key("1.0.0.0")


@pytest.mark.parametrize(
    "text", ["", "v1", "1.", "1..2", "1.2.3.4.5", "4294967296", "1.0+build", "1" * 33, "1 "]
)
def test_other_versions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="version"):
        version_key(text)


def test_settings_get_the_serial_number() -> None:
    data = with_serial(encode_settings({"endpoint": "mqtts://example.com"}), "BM-1")
    assert strict_cbor.decode(data, max_bytes=100) == {"endpoint": "mqtts://example.com", "serial": "BM-1"}


def test_settings_with_a_longest_serial_stay_within_their_bound() -> None:
    room = MAX_SETTINGS_BYTES - 80 - len(encode_settings({"k": "x" * 300})) + 300
    settings = encode_settings({"k": "x" * room})
    assert len(with_serial(settings, "s" * 64)) <= MAX_SETTINGS_BYTES
    with pytest.raises(CborError):
        encode_settings({"k": "x" * (room + 1)})


def test_settings_may_not_set_the_serial_or_hold_floats() -> None:
    for settings in ({"serial": "x"}, {"f": 1.5}, {"a": [{"b": {"c": {"d": 1}}}]}):
        with pytest.raises(CborError):
            encode_settings(settings)


@given(st.text(max_size=40))
def test_any_text_is_a_version_or_a_value_error(text: str) -> None:
    try:
        version_key(text)
    except ValueError:
        return
    assert len(text) <= 32
