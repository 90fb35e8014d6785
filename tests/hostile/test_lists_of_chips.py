"""Lists of chips that come from elsewhere: what they name is burned or certified, and stays so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from birthmark.v1 import admin_pb2
from harness.edge import Edge
from harness.signerd_commands import signerd

pytestmark = pytest.mark.check

MAC, OTHER = "7c:df:a1:00:00:01", "7c:df:a1:00:00:02"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("lists")) as edge:
        edge.start()
        edge.add_sensor()
        yield edge


def refused(edge: Edge, directory: Path, *lines: str) -> str:
    """Personalizes for eFuses, in vain: what is said."""
    chips, out = directory / "chips.txt", directory / "keys"
    chips.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    before = len(list(edge.entries()))
    burn = ("chips", "personalize", chips, "--site", "lab", "--chip", "esp32s3", "--out", out)
    code, said = signerd(edge.installation, *burn)
    assert code == 1
    assert not out.exists()
    assert len(list(edge.entries())) == before
    return said


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("chip_id", "a list has no header"),
        ("MAC", "a list has no header"),
        ("Seriennummer", "looks like a header"),
        ("7C:DF:A1:00:00:03", "another spelling"),
        ("7c-df-a1-00-00-03", "another spelling"),
        ("7cdfa1000003", "is not the MAC address of a chip"),
        ("CHIP-0003", "is not the MAC address of a chip"),
        ("00:00:00:00:00:00", "no chip's MAC address"),
        ("ff:ff:ff:ff:ff:ff", "no chip's MAC address"),
        ("01:00:5e:00:00:01", "multicast"),
        (MAC.upper(), "another spelling"),
    ],
)
def test_nothing_is_burned_for_a_list_with_a_wrong_line(
    edge: Edge, tmp_path: Path, line: str, reason: str
) -> None:
    assert reason in refused(edge, tmp_path, line, MAC, OTHER)


def test_a_right_list_is_burned(edge: Edge, tmp_path: Path) -> None:
    chips, out = tmp_path / "chips.txt", tmp_path / "keys"
    chips.write_text(f"{MAC}\n{OTHER}\n", "utf-8")
    burn = ("chips", "personalize", chips, "--site", "lab", "--chip", "esp32s3", "--out", out)
    assert signerd(edge.installation, *burn)[0] == 0
    assert {file.name for file in out.iterdir()} == {f"{MAC}.key", f"{OTHER}.key", "BURN.txt"}


def said_to(call: object, request: object) -> str:
    with pytest.raises(grpc.RpcError) as refusal:
        call(request, timeout=20)  # type: ignore[operator]
    return str(refusal.value.details())


def test_one_chip_in_two_spellings_is_not_two_chips_in_whatever_list(edge: Edge) -> None:
    """Over the socket itself, as tools of one's own would."""
    station = edge.add_peer("station/plant1/spell")
    order = edge.open_order(station)
    personalize = admin_pb2.PersonalizeChipsRequest(site="lab", key="hmac-sha256", by="ann")
    personalize.chip_ids.append("Spell-1")
    edge.admin.PersonalizeChips(personalize)
    for chip_ids in (["spell-1"], ["SPELL-1"], ["new-1", "NEW-1"], ["chip_id"], ["00:00:00:00:00:00"]):
        listed = admin_pb2.ImportChipsRequest(work_order=order, chip_ids=chip_ids)
        told = said_to(edge.admin.ImportChips, listed)
        assert told.startswith("invalid: ")
        again = admin_pb2.PersonalizeChipsRequest(site="lab", key="hmac-sha256", by="ann", chip_ids=chip_ids)
        assert said_to(edge.admin.PersonalizeChips, again) == told
    edge.admin.ImportChips(admin_pb2.ImportChipsRequest(work_order=order, chip_ids=["Spell-1", "other-1"]))
    other = edge.open_order(station)
    told = said_to(
        edge.admin.ImportChips, admin_pb2.ImportChipsRequest(work_order=other, chip_ids=["Other-1"])
    )
    assert told == "invalid: chip Other-1: it is known as other-1, and the two differ by letter case alone"
