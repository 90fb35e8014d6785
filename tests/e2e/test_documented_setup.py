"""The documented set-up to its end, over a network: a factory PC that dials signerd by its name, over IPv4
and over IPv6, and boards that are certified, also where the firewall between them forgets."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from harness.documented import DocumentedInstallation
from harness.firewalled_line import SLOW, FirewalledLine
from harness.installation import SENSOR, Peer, order_toml
from harness.process import COMMANDS, run
from harness.two_networks import TwoNetworks, no_two_networks

pytestmark = pytest.mark.check
NAME = "signer.example.com"
ORDER = "WO-NAMES"
# On a busy machine no stamp is left for later.
PATIENT = "[timeouts]\ncall_s = 60\nstamp_wait_s = 120\n"


@pytest.fixture(scope="module")
def networks() -> Iterator[TwoNetworks]:
    if missing := no_two_networks():
        pytest.skip(missing)
    with TwoNetworks() as networks:
        networks.name(NAME, networks.signerd_v4)
        yield networks


@pytest.fixture(scope="module")
def installation(
    networks: TwoNetworks, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DocumentedInstallation]:
    daemon = networks.at_signerd(COMMANDS / "signerd")
    made = DocumentedInstallation(
        tmp_path_factory.mktemp("documented"), server_name=NAME, signerd=daemon, any_port=False
    )
    with made as installation:
        assert f"ok     server names: {NAME}" in installation.admin("check-config", "--dials", NAME)
        installation.start_signerd()
        installation.add_product(SENSOR)
        yield installation


@pytest.fixture(scope="module")
def station(installation: DocumentedInstallation) -> Peer:
    station = installation.add_station("plant1", "pc1")
    installation.open_order(order_toml(ORDER, quantity=2, stations=[station.uri]))
    return station


@pytest.mark.parametrize("version", ["IPv4", "IPv6"])
def test_a_station_dials_the_name_and_its_board_is_certified(
    networks: TwoNetworks, installation: DocumentedInstallation, station: Peer, version: str
) -> None:
    networks.name(NAME, networks.signerd_v4 if version == "IPv4" else networks.signerd_v6)
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
    wrong.write_text(station.config.read_text("utf-8").replace(NAME, "other.example.com"), "utf-8")
    agent = networks.at_the_station(COMMANDS / "birthmark-agent")
    said = run([*agent, "doctor", "-c", wrong], expect=1)
    assert f"signerd's certificate does not have the name other.example.com: it has {NAME}, localhost" in said
    assert "signerd server renew --name other.example.com" in said


def test_a_firewall_that_forgets_holds_boards_up_for_seconds(
    networks: TwoNetworks, installation: DocumentedInstallation, station: Peer
) -> None:
    """Real packets are dropped in the middle of a connection, without a word. It took 89 s."""
    networks.name(NAME, networks.signerd_v4)
    with FirewalledLine(networks, installation, station) as line:
        boards = line.plug(4, **SLOW)
        line.until_begun(boards)
        networks.forget()
        line.until_passed(boards, within_s=40)
        assert line.count("line_down") == 0
        said = {told["detail"] for told in line.events() if told["event"] == "waiting"}
        assert all(detail.startswith(("signerd takes", "the connection to signerd")) for detail in said), said
