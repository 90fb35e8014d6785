"""An order names its firmware by digest: a board that says anything else of what it runs is not stamped."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from birthmark.v1 import admin_pb2, audit_pb2, signing_pb2
from harness.hostile_line import CALL_TIMEOUT_S, HostileLine
from harness.installation import Installation, order_toml
from harness.paper_board import DEFAULT_FIRMWARE, PaperBoard
from harness.process import COMMANDS, run, wait_until

BUNDLE = hashlib.sha256(b"bundle 1.2.0").digest()
BOOT: list[Any] = ["2.0", hashlib.sha256(b"boot 2.0").digest()]
ORDERED = DEFAULT_FIRMWARE | {"boot": BOOT}
OTHER = hashlib.sha256(b"another application").digest()

Certified = tuple[signing_pb2.OpenSessionResponse, signing_pb2.SignCsrResponse]


def certified(line: HostileLine, **terms: Any) -> tuple[str, PaperBoard, Certified]:
    """An order that names its firmware, and a genuine board of it that runs exactly that."""
    order = line.open_order(**{"bundle_sha256": BUNDLE, "firmware": ORDERED} | terms)
    board = replace(line.board(), firmware=dict(ORDERED))
    return order, board, line.pc1.certify(order, board)


def refused_then_stamped(line: HostileLine, **changed: list[Any] | None) -> None:
    """The stamp with these components changed (None: left out) is refused, and the right one recorded."""
    order, board, issued = certified(line)
    components = {**ORDERED, **changed}
    wrong = replace(board, firmware={name: item for name, item in components.items() if item is not None})
    before = line.size()
    line.refused("firmware_differs", lambda: line.pc1.stamp(wrong, *issued))
    (entry,) = [entry for entry in line.entries(before) if entry.get("code") == "firmware_differs"]
    assert (entry["call"], entry["work_order"], entry["chip_id"]) == ("RecordStamp", order, board.chip_id)
    assert line.counts(order).stamped == 0
    line.pc1.stamp(board, *issued)
    assert line.counts(order).stamped == 1


def test_the_session_names_the_bundle_of_its_order_alone(line: HostileLine) -> None:
    named, unnamed = line.open_order(bundle_sha256=BUNDLE), line.open_order()
    chip_id = line.board().chip_id
    assert line.pc1.open(named, chip_id).bundle_sha256 == BUNDLE
    assert line.pc1.open(unnamed, chip_id).bundle_sha256 == b""


def test_a_stamp_with_another_application(line: HostileLine) -> None:
    refused_then_stamped(line, app=[ORDERED["app"][0], OTHER])


def test_a_stamp_with_older_firmware(line: HostileLine) -> None:
    refused_then_stamped(line, app=["1.1.0", hashlib.sha256(b"app 1.1.0").digest()])


@pytest.mark.parametrize("version", ["1.1.0", "1.2", "1.2.0-rc1"])
def test_a_stamp_with_the_ordered_digest_under_another_version(line: HostileLine, version: str) -> None:
    refused_then_stamped(line, app=[version, ORDERED["app"][1]])


def test_a_stamp_without_an_ordered_component(line: HostileLine) -> None:
    refused_then_stamped(line, boot=None)


def test_a_stamp_without_any_firmware(line: HostileLine) -> None:
    refused_then_stamped(line, app=None, boot=None)


def test_a_stamp_with_two_components_exchanged(line: HostileLine) -> None:
    refused_then_stamped(line, app=BOOT, boot=ORDERED["app"])


def test_an_ordered_component_under_a_name_that_is_nearly_its_own(line: HostileLine) -> None:
    refused_then_stamped(line, app=None, App=ORDERED["app"])


def test_a_stamp_with_the_firmware_of_another_order(line: HostileLine) -> None:
    newer = {"app": ["1.3.0", hashlib.sha256(b"app 1.3.0").digest()], "boot": BOOT}
    _, other, others = certified(line, firmware=newer)
    order, board, issued = certified(line)
    elsewhere = replace(board, firmware=newer)
    line.refused("firmware_differs", lambda: line.pc1.stamp(elsewhere, *issued))
    line.pc1.stamp(replace(other, firmware=newer), *others)
    line.pc1.stamp(board, *issued)
    assert line.counts(order).stamped == 1


def test_firmware_below_the_minimum_is_told_as_such(line: HostileLine) -> None:
    _, board, issued = certified(line, minimum_firmware={"app": "1.2.0"})
    older = replace(board, firmware=ORDERED | {"app": ["1.1.0", OTHER]})
    line.refused("firmware_too_old", lambda: line.pc1.stamp(older, *issued))
    line.pc1.stamp(board, *issued)


def test_more_components_than_were_ordered_may_be_anything(line: HostileLine) -> None:
    order, board, issued = certified(line)
    line.pc1.stamp(replace(board, firmware=ORDERED | {"modem": ["9.9", bytes(32)]}), *issued)
    assert line.counts(order).stamped == 1


def test_other_firmware_after_the_stamp(line: HostileLine) -> None:
    _, board, issued = certified(line)
    line.pc1.stamp(board, *issued)
    other = replace(board, firmware=ORDERED | {"app": ["1.2.0", OTHER]})
    line.refused("firmware_differs", lambda: line.pc1.stamp(other, *issued))


def test_an_order_opened_again_with_another_bundle(line: HostileLine) -> None:
    order, board, issued = certified(line)
    again = order_toml(
        order,
        quantity=10,
        stations=[line.pc1.uri],
        serial_pattern="again-{number}",
        bundle_sha256=OTHER,
        firmware=ORDERED | {"app": ["1.2.0", OTHER]},
    )
    for close in (False, True):
        if close:
            line.admin.CloseWorkOrder(admin_pb2.CloseWorkOrderRequest(work_order=order))
        with pytest.raises(grpc.RpcError) as refused:
            line.admin.OpenWorkOrder(admin_pb2.OpenWorkOrderRequest(work_order_toml=again))
        assert isinstance(refused.value, grpc.Call)
        assert (refused.value.details() or "").startswith(f"already_exists: work order {order} exists")
    request = audit_pb2.GetWorkOrderRequest(work_order=order)
    terms = line.auditor.audit.GetWorkOrder(request, timeout=CALL_TIMEOUT_S).work_order
    said = {name: [item.version, item.digest] for name, item in terms.firmware.items()}
    assert (terms.bundle_sha256, said) == (BUNDLE, ORDERED)
    line.pc1.stamp(board, *issued)


def test_the_ledger_has_what_the_order_names(line: HostileLine) -> None:
    order, bare = line.open_order(bundle_sha256=BUNDLE, firmware=ORDERED), line.open_order()

    def opened_orders() -> dict[str, dict[str, Any]]:
        return {entry["work_order"]: entry for entry in line.entries() if entry["type"] == "order_opened"}

    wait_until(lambda: {order, bare} <= opened_orders().keys(), "both orders in the published ledger")
    opened = opened_orders()
    assert opened[order]["bundle_sha256"] == BUNDLE.hex()
    assert opened[order]["firmware"] == {
        name: [version, digest.hex()] for name, (version, digest) in ORDERED.items()
    }
    assert (opened[bare]["bundle_sha256"], opened[bare]["firmware"]) == (None, None)


def test_an_auditor_finds_nothing_after_the_attacks_on_firmware(line: HostileLine) -> None:
    line.verify()


@pytest.mark.check
def test_an_order_rewritten_in_the_database(tmp_path: Path) -> None:
    """The ledger has the order's terms: no board is stamped against others, and an auditor sees the row."""
    with Installation(tmp_path / "line") as installation:
        line = HostileLine(installation)
        order, board, issued = certified(line)
        installation.process.stop()
        with closing(sqlite3.connect(installation.home / "signerd.sqlite")) as database, database:
            database.execute("UPDATE orders SET bundle_sha256 = NULL, firmware = NULL")
        installation.start_signerd()
        line.reconnect()
        with pytest.raises(grpc.RpcError) as refused:
            line.pc1.stamp(replace(board, firmware=ORDERED | {"app": ["1.2.0", OTHER]}), *issued)
        assert refused.value.code() is grpc.StatusCode.INTERNAL
        eve = installation.directory / "auditor-eve" / "auditor.toml"

        def found(*command: str) -> list[tuple[str, str]]:
            said = run([COMMANDS / "birthmark-auditor", *command, "--config", eve, "--json"], expect=1)
            lines = map(json.loads, said.splitlines())
            return [(each["code"], each["detail"]) for each in lines if each["event"] == "finding"]

        differs = [
            ("F313", "signerd states another bundle"),
            ("F313", "signerd states another firmware"),
        ]
        assert found("verify") == differs
        assert found("order", order) == differs
        line.close()
