"""`signerd calendar`: what ends, of a signerd that serves."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from harness.edge import Edge, key_pem
from harness.installation import Installation
from harness.process import Program, wait_until
from harness.signerd_commands import signerd
from signerd.adapters.operations_ca import issue_server, load_ca

pytestmark = pytest.mark.check


def test_every_date_on_which_something_stops(edge: Edge, tmp_path: Path) -> None:
    station = edge.add_peer("station/plant1/calendar")
    opened, closed = edge.open_order(station), edge.open_order(station)
    edge.installation.admin("order", "close", closed)
    assert signerd(edge.installation, "crl", "--out", tmp_path / "crl.der", "--hours", "12")[0] == 0
    code, said = signerd(edge.installation, "calendar", "--json")
    assert code == 0
    ends = {(end["which"], end["name"]): end for end in json.loads(said)}
    which = [kind for kind, _ in ends]
    assert {"server", "operations_ca", "sub_ca", "root", "peer", "crl", "product", "order"} == set(which)
    assert ("order", opened) in ends
    assert ("order", closed) not in ends
    dates = [end["at"] for end in ends.values()]
    assert dates == sorted(dates)
    # The harness' boards are valid for 7,300 days, the sub-CA of a development installation for 12,775.
    last = datetime.fromisoformat(ends["product", "sensor"]["at"])
    assert timedelta(days=5474) <= last - datetime.now(UTC) <= timedelta(days=5475)
    assert not ends["peer", station.uri]["soon"]
    assert ends["crl", "main"]["soon"]
    code, said = signerd(edge.installation, "calendar")
    assert (code, "SOON" in said, station.uri in said) == (0, True, True)


def test_as_an_icalendar(edge: Edge, tmp_path: Path) -> None:
    file = tmp_path / "signerd.ics"
    code, said = signerd(edge.installation, "calendar", "--ics", file)
    text = file.read_text("utf-8")
    assert (code, f"{text.count('BEGIN:VEVENT')} events" in said) == (0, True)
    assert "SUMMARY:server CN=signerd\\,O=dev ends" in text
    code, printed = signerd(edge.installation, "calendar", "--ics", "-")
    assert (code, printed.count("BEGIN:VEVENT")) == (0, text.count("BEGIN:VEVENT"))
    assert signerd(edge.installation, "calendar", "--ics", "-", "--json")[0] == 2


def test_without_signerd_it_says_so(unstarted: Installation) -> None:
    assert signerd(unstarted, "calendar")[0] == 4


def test_what_ends_soon_is_said_until_it_is_renewed(fresh: Installation) -> None:
    code, said = signerd(fresh, "check-config")
    assert (code, "ok     ends: nothing within 60 days" in said) == (0, True)
    put_certificate_of(fresh, datetime.now(UTC) - timedelta(days=800))
    code, said = signerd(fresh, "check-config")
    assert (code, "ENDS SOON: server" in said, "signerd server renew" in said) == (0, True, True)
    program = fresh.start_signerd()
    wait_until(lambda: warned(program) == ["server 24"], "the warning", program=program)
    assert signerd(fresh, "server", "renew")[0] == 0
    assert "ENDS SOON" not in signerd(fresh, "check-config")[1]
    (server,) = (end for end in json.loads(fresh.admin("calendar", "--json")) if end["which"] == "server")
    assert not server["soon"]
    assert warned(program) == ["server 24"]


def put_certificate_of(installation: Installation, begin: datetime) -> None:
    """As `server renew` made one then."""
    ca = load_ca(installation.home)
    certificate, key = issue_server(ca, "dev", ("localhost", "127.0.0.1"), begin)
    folder = installation.home / "operations"
    (folder / "server.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "server.key").write_bytes(key_pem(key))


def warned(program: Program) -> list[str]:
    lines = map(json.loads, program.errors().split("\n")[:-1])
    return [f"{line['which']} {line['days']}" for line in lines if line.get("event") == "ends_soon"]
