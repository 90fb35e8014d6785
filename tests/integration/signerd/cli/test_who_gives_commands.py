"""Entries of administrators name who gave the command: the user who calls, or `signerd --by`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from birthmark.v1 import admin_pb2
from harness.edge import TIMEOUT_S, Edge
from harness.installation import SENSOR, order_toml
from harness.signerd_commands import signerd

pytestmark = pytest.mark.check


def last(edge: Edge, kind: str) -> dict[str, Any]:
    return [entry for entry in edge.entries() if entry["type"] == kind][-1]


def test_whoever_gives_a_command_stands_in_its_entry(edge: Edge, tmp_path: Path) -> None:
    product, order, chips = tmp_path / "product.toml", tmp_path / "order.toml", tmp_path / "chips.txt"
    product.write_text(SENSOR.replace('"sensor"', '"owned"', 1), "utf-8")
    station = edge.peer("station/plant1/by")
    certificate = tmp_path / "by.pem"
    certificate.write_bytes(station.certificate)
    terms = order_toml("WO-BY", quantity=1, stations=[station.uri], serial_pattern="BY-{number}")
    order.write_text(terms.replace('"sensor"', '"owned"', 1), "utf-8")
    chips.write_text("by:1\n", "utf-8")
    commands: list[tuple[str, list[str | Path]]] = [
        ("station_added", ["station", "add", "--certificate", certificate]),
        ("product_added", ["product", "add", product]),
        ("order_opened", ["order", "open", order]),
        ("chips_imported", ["chips", "import", "--order", "WO-BY", chips]),
        ("order_closed", ["order", "close", "WO-BY"]),
        ("station_revoked", ["station", "revoke", station.uri]),
        ("crl_issued", ["crl", "--out", tmp_path / "crl.der"]),
    ]
    for kind, command in commands:
        edge.installation.admin("--by", "zoe@plant1", *command)
        assert last(edge, kind)["by"] == "zoe@plant1", kind


def test_the_user_who_calls_is_named_where_nobody_is(
    edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "erin")
    edge.installation.admin("crl", "--out", tmp_path / "crl.der")
    assert last(edge, "crl_issued")["by"] == "erin"


@pytest.mark.parametrize("name", ["ann smith", "x" * 65, "PLANT\\ann"])
def test_a_name_that_the_ledger_cannot_hold_changes_nothing(edge: Edge, tmp_path: Path, name: str) -> None:
    before = len(list(edge.entries()))
    code, said = signerd(edge.installation, "--by", name, "crl", "--out", tmp_path / "crl.der")
    assert (code, "--by" in said) == (1, True)
    assert len(list(edge.entries())) == before


def test_signerd_looks_at_the_name_too(edge: Edge) -> None:
    admin, name = edge.admin, "ann\n"
    before = json.dumps(list(edge.entries()))
    for call in (
        lambda: admin.RevokePeer(admin_pb2.RevokePeerRequest(uri="x", by=name), timeout=TIMEOUT_S),
        lambda: admin.AddProduct(
            admin_pb2.AddProductRequest(product_toml=SENSOR + "\n# other", by=name), timeout=TIMEOUT_S
        ),
        lambda: admin.CloseWorkOrder(admin_pb2.CloseWorkOrderRequest(work_order="x", by=name)),
        lambda: admin.MakeCrl(admin_pb2.MakeCrlRequest(next_update_h=1, by=name), timeout=TIMEOUT_S),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call()
        assert isinstance(refused.value, grpc.Call)
        assert (refused.value.details() or "").startswith("invalid: by must be")
    assert json.dumps(list(edge.entries())) == before
