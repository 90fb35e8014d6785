"""`signerd order`, and the list of chips of an order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.edge import Edge
from harness.installation import order_toml, product_toml
from harness.signerd_commands import signerd


@pytest.mark.check
def test_work_orders_and_chips(edge: Edge, tmp_path: Path) -> None:
    station = edge.add_peer("station/plant1/pc1")
    file = tmp_path / "order.toml"
    file.write_text(order_toml("WO-C", quantity=3, stations=[station.uri], level="none"), "utf-8")
    assert "opened WO-C" in edge.installation.admin("order", "open", file)
    for command in ("open", "rehearse"):
        code, said = signerd(edge.installation, "order", command, file)
        assert (code, "already_exists: work order WO-C exists, and is open (ledger entry " in said) == (
            1,
            True,
        )
        assert "give this one another work_order" in said
    shown = json.loads(edge.installation.admin("order", "show", "WO-C", "--json"))
    assert (shown["work_order"]["state"], shown["work_order"]["level"]) == ("open", "none")
    assert shown["work_order"]["minimum_firmware"] == {}
    assert shown["counts"] == {"places": 0, "issued": 0, "stamped": 0, "revoked": 0, "open_intents": 0}
    assert station.uri in edge.installation.admin("order", "show", "WO-C")
    chips = tmp_path / "chips.txt"
    chips.write_text("chip-1\n\nchip-2\n", "utf-8")
    assert "2 of 2" in edge.installation.admin("chips", "import", "--order", "WO-C", chips)
    assert "0 of 2" in edge.installation.admin("chips", "import", "--order", "WO-C", chips)
    chips.write_text("chip-3\nchip 4\n", "utf-8")
    code, said = signerd(edge.installation, "chips", "import", "--order", "WO-C", chips)
    assert (code, "line 2" in said) == (1, True)
    edge.installation.admin("order", "close", "WO-C")
    (listed,) = [
        each
        for each in json.loads(edge.installation.admin("order", "list", "--json"))
        if each["work_order"]["work_order"] == "WO-C"
    ]
    assert listed["work_order"]["state"] == "closed"
    assert signerd(edge.installation, "order", "show", "WO-NONE")[0] == 1
    file.write_text(order_toml("WO-D", quantity=3, stations=["birthmark://other/station/a/b"]), "utf-8")
    code, said = signerd(edge.installation, "order", "open", file)
    assert (code, f"signerd: invalid: {file}: stations: birthmark://other/station/a/b" in said) == (1, True)
    file.write_text(order_toml("WO-D", quantity=3, product="nothing", stations=[station.uri]), "utf-8")
    for command in ("open", "rehearse"):
        code, said = signerd(edge.installation, "order", command, file)
        assert (code, f"signerd: invalid: {file}: product: no product 'nothing'" in said) == (1, True)


def test_showing_the_bundle_of_a_work_order(edge: Edge, tmp_path: Path) -> None:
    edge.installation.add_product(product_toml("bundled"))
    station = edge.add_peer("station/plant1/pc2")
    file = tmp_path / "order.toml"
    bundle, app, boot = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
    named = order_toml(
        "WO-E",
        quantity=3,
        stations=[station.uri],
        product="bundled",
        serial_pattern="E-{number}",
        bundle_sha256=bundle,
        firmware={"boot": ["2.0", boot], "app": ["1.4.0", app]},
    )
    file.write_text(named, "utf-8")
    opened = json.loads(edge.installation.admin("order", "open", file, "--json"))["work_order"]
    shown = json.loads(edge.installation.admin("order", "show", "WO-E", "--json"))["work_order"]
    assert opened == shown
    assert shown["bundle_sha256"] == bundle.hex()
    assert shown["firmware"] == {
        "app": {"version": "1.4.0", "digest": app.hex()},
        "boot": {"version": "2.0", "digest": boot.hex()},
    }
    table = edge.installation.admin("order", "show", "WO-E")
    assert all(text in table for text in (bundle.hex(), f"app 1.4.0 {app.hex()}", f"boot 2.0 {boot.hex()}"))
    file.write_text(named.replace("E-", "F-").replace("WO-E", "WO-F").replace(app.hex(), "12"), "utf-8")
    code, said = signerd(edge.installation, "order", "open", file)
    assert (code, "bundle.firmware.app" in said) == (1, True)
