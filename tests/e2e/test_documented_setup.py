"""The documented set-up to its end, over a network: a factory PC that dials signerd by its name, over IPv4
and over IPv6, and boards that are certified, also where the firewall between them forgets."""

from __future__ import annotations

import json
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from harness.documented import DocumentedInstallation
from harness.firewalled_line import SLOW, FirewalledLine
from harness.installation import Peer, order_toml
from harness.networked_installation import SIGNERD_NAME
from harness.process import COMMANDS, REPOSITORY, run
from harness.two_networks import TwoNetworks

pytestmark = pytest.mark.check
ORDER = "WO-NAMES"
PAGE = (REPOSITORY / "docs" / "stations.md").read_text("utf-8")
# On a busy machine no stamp is left for later.
PATIENT = "[timeouts]\ncall_s = 60\nstamp_wait_s = 120\n"


@pytest.fixture(scope="module")
def station(installation: DocumentedInstallation) -> Peer:
    station = installation.add_station("plant1", "pc1")
    installation.open_order(order_toml(ORDER, quantity=2, stations=[station.uri]))
    return station


def test_the_certificate_has_the_name_that_stations_dial(installation: DocumentedInstallation) -> None:
    said = installation.admin("check-config", "--dials", SIGNERD_NAME)
    assert f"ok     server names: {SIGNERD_NAME}" in said


def test_the_fingerprint_of_the_device_root_is_told_by_the_pages_line(
    installation: DocumentedInstallation,
) -> None:
    (line,) = re.findall(r"`(openssl x509 [^`]*-fingerprint[^`]*)`", PAGE)
    root = installation.home / "ca" / "root.pem"
    assert root.name in line
    said = run(["sh", "-euc", line], directory=root.parent)
    wanted = x509.load_pem_x509_certificate(root.read_bytes()).fingerprint(hashes.SHA256())
    assert bytes.fromhex(said.strip().partition("=")[2].replace(":", "")) == wanted


@pytest.mark.parametrize("version", ["IPv4", "IPv6"])
def test_a_station_dials_the_name_and_its_board_is_certified(
    networks: TwoNetworks, installation: DocumentedInstallation, station: Peer, version: str
) -> None:
    networks.name(SIGNERD_NAME, networks.signerd_v4 if version == "IPv4" else networks.signerd_v6)
    farm = installation.start_boards(installation.personalize([f"chip-{version}"]), f"boards-{version}")
    with_ports = station.directory / f"{version}.toml"
    settings = f"ports = {farm.ports}\n{station.config.read_text('utf-8')}\n{PATIENT}"
    with_ports.write_text(settings, "utf-8")
    agent = networks.at_the_station(COMMANDS / "birthmark-agent")
    said = run([*agent, "doctor", "-c", with_ports, "--order", ORDER])
    assert "BAD" not in said
    run([*agent, "run", "-c", with_ports, "--order", ORDER, "--count", "1"])
    counts = json.loads(installation.admin("order", "show", ORDER, "--json"))["counts"]
    assert counts["stamped"] == (1 if version == "IPv4" else 2)


def test_a_station_that_dials_another_name_is_told_which_there_are(
    networks: TwoNetworks, station: Peer
) -> None:
    networks.name("other.example.com", networks.signerd_v6)
    wrong = station.directory / "wrong.toml"
    wrong.write_text(station.config.read_text("utf-8").replace(SIGNERD_NAME, "other.example.com"), "utf-8")
    agent = networks.at_the_station(COMMANDS / "birthmark-agent")
    said = run([*agent, "doctor", "-c", wrong], expect=1)
    assert (
        f"signerd's certificate does not have the name other.example.com: it has {SIGNERD_NAME}, localhost"
        in said
    )
    assert "signerd server renew --name other.example.com" in said


def test_a_firewall_that_forgets_holds_boards_up_for_seconds(
    networks: TwoNetworks, installation: DocumentedInstallation, station: Peer
) -> None:
    """Real packets are dropped in the middle of a connection, without a word. It took 89 s."""
    networks.name(SIGNERD_NAME, networks.signerd_v4)
    with FirewalledLine(networks, installation, station) as line:
        boards = line.plug(4, **SLOW)
        line.until_begun(boards)
        networks.forget()
        line.until_passed(boards, within_s=40)
        assert line.count("line_down") == 0
        said = {told["detail"] for told in line.events() if told["event"] == "waiting"}
        assert all(detail.startswith(("signerd takes", "the connection to signerd")) for detail in said), said
