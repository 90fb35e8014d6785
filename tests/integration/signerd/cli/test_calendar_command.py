"""`signerd calendar`: what ends, of a signerd that serves."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.edge import Edge
from harness.installation import Installation
from harness.signerd_commands import signerd

pytestmark = pytest.mark.check


def test_every_date_on_which_something_stops(edge: Edge, tmp_path: Path) -> None:
    station = edge.add_peer("station/plant1/calendar")
    assert signerd(edge.installation, "crl", "--out", tmp_path / "crl.der", "--hours", "12")[0] == 0
    code, said = signerd(edge.installation, "calendar", "--json")
    assert code == 0
    ends = {(end["which"], end["name"]): end for end in json.loads(said)}
    which = [kind for kind, _ in ends]
    assert {"server", "operations_ca", "sub_ca", "root", "peer", "crl", "product"} == set(which)
    dates = [end["at"] for end in ends.values()]
    assert dates == sorted(dates)
    # The harness' boards are valid for 7,300 days, the sub-CA of a development installation for 12,775.
    last = datetime.fromisoformat(ends["product", "sensor"]["at"])
    assert timedelta(days=5474) <= last - datetime.now(UTC) <= timedelta(days=5475)
    assert not ends["peer", station.uri]["soon"]
    assert ends["crl", "the newest"]["soon"]
    code, said = signerd(edge.installation, "calendar")
    assert (code, "SOON" in said, station.uri in said) == (0, True, True)


def test_as_an_icalendar(edge: Edge, tmp_path: Path) -> None:
    file = tmp_path / "signerd.ics"
    code, said = signerd(edge.installation, "calendar", "--ics", file)
    text = file.read_text("utf-8")
    assert (code, f"{text.count('BEGIN:VEVENT')} events" in said) == (0, True)
    assert "SUMMARY:server CN=signerd\\,O=dev ends" in text


def test_without_signerd_it_says_so(unstarted: Installation) -> None:
    assert signerd(unstarted, "calendar")[0] == 4


def test_check_config_names_what_ends_soon(unstarted: Installation) -> None:
    code, said = signerd(unstarted, "check-config")
    assert (code, "ok     ends: nothing within 60 days" in said) == (0, True)
