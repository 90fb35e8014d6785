"""`chips`: on several orders, refused before, against the company's list, and by attestation key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from auditor.cli.app import app
from auditor.errors import ConfigError, NotFound
from harness.asked import Asked
from harness.audit_bench import opened
from harness.many_boards import add, add_refusal, add_revocation, chip, members_of
from harness.paper_certificates import pem
from harness.paper_log import STATION, vkey
from harness.paper_tiles import files_of, write_tiles

SHARED = "ee" * 32


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """WO-1: 1 to 4. 1 is certified again on WO-2. 2 and 3 were refused before, 4 afterwards; 9 never came."""
    log = opened(reissue="always", quantity=9)
    log.open_order("WO-2", quantity=9, reissue="always")
    first = members_of(log, add(log, 1))
    add_refusal(log, chip_id=chip(2))
    add_refusal(log, code="chip_unknown", chip_id=chip(2), count=2)
    for number in (3, 9):
        add_refusal(log, chip_id=chip(number), peer=None)
    for number in (2, 3, 4):
        add(
            log,
            number,
            attester_sha256=SHARED if number == 2 else None,
            method=("x509" if number == 2 else "hmac-sha256"),
        )
    add_refusal(log, chip_id=chip(4))
    add_revocation(log, first)
    second: dict[str, Any] = {
        "work_order": "WO-2",
        "number": 1,
        "chip_id": chip(1),
        "serial_number": "WO-2-000001",
    }
    add(log, 20, **second)
    made = Asked(tmp_path_factory.mktemp("chips"), log)
    made.verify()
    return made


def test_chips_on_several_orders_and_chips_that_were_refused_before(asked: Asked) -> None:
    again, second, third = asked.lines("chips")
    assert (again["why"], again["chip_id"], again["work_orders"], again["certificates"]) == (
        "several_orders", chip(1), ["WO-1", "WO-2"], 2,
    )  # fmt: skip
    assert (second["why"], second["serial_number"], second["refusals"]) == (
        "refused_before",
        "WO-1-000002",
        3,
    )
    assert (second["codes"], second["stations"]) == (["chip_unknown", "evidence_bad"], [STATION])
    assert (third["chip_id"], third["refusals"], third["stations"]) == (chip(3), 1, [""])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--order", "WO-1"], ["several_orders", "refused_before", "refused_before"]),
        (["--order", "WO-2"], ["several_orders"]),
        (["--method", "x509"], ["refused_before"]),
        (["--level", "none"], []),
    ],
)
def test_chips_are_chosen_by_order_and_evidence(asked: Asked, words: list[str], why: list[str]) -> None:
    assert [row["why"] for row in asked.lines("chips", *words)] == why
    assert [row["why"] for row in asked.table("chips", *words)] == why


LIST = f"{chip(1)}\n{chip(2)}\n\n  {chip(3)} \n{chip(9)}\n"


@pytest.mark.parametrize(
    "data", [LIST.encode(), b"\xef\xbb\xbf" + LIST.replace("\n", "\r\n").encode(), LIST.rstrip("\n").encode()]
)
def test_a_list_against_the_certificates(asked: Asked, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "list").write_bytes(data)
    rows = asked.lines("chips", "--chips", str(tmp_path / "list"))
    assert [(row["why"], row["chip_id"], row["line"]) for row in rows] == [
        ("not_on_list", chip(4), None),
        ("not_certified", chip(9), 5),
    ]
    rows = asked.lines("chips", "--chips", str(tmp_path / "list"), "--order", "WO-2")
    assert [row["chip_id"] for row in rows] == [chip(2), chip(3), chip(9)]


def test_boards_of_one_attestation_key(asked: Asked, tmp_path: Path) -> None:
    write_tiles(tmp_path, files_of(asked.log.entries), asked.log.checkpoint())
    for name, data in (
        ("none.vkey", vkey(asked.log.log_key).encode()),
        ("none.pem", pem(asked.log.root.certificate)),
    ):
        (asked.directory / name).write_bytes(data)
    (row,) = asked.lines("chips", "--attester", SHARED, "--tiles", str(tmp_path))
    assert (row["why"], row["serial_number"]) == ("attester", "WO-1-000002")
    assert asked.lines("chips", "--attester", "00" * 32, "--tiles", str(tmp_path)) == []


@pytest.mark.parametrize(
    "words",
    [
        ["--attester", "abc"],
        ["--tiles", "x"],
        ["--attester", SHARED, "--chips", "x"],
        ["--attester", SHARED, "--order", "WO-1"],
    ],
)
def test_what_cannot_be_asked_of_chips(asked: Asked, words: list[str]) -> None:
    assert CliRunner().invoke(app, ["chips", *words, "-c", str(asked.config)]).exit_code == 2


def test_an_order_without_an_entry_and_a_list_without_a_file(asked: Asked, tmp_path: Path) -> None:
    for words in (["--order", "WO-9"], ["--chips", str(tmp_path), "--order", "WO-9"]):
        done = CliRunner().invoke(app, ["chips", *words, "-c", str(asked.config)])
        assert isinstance(done.exception, NotFound)
    for file in (tmp_path, tmp_path / "none"):
        done = CliRunner().invoke(app, ["chips", "--chips", str(file), "-c", str(asked.config)])
        assert isinstance(done.exception, ConfigError)
