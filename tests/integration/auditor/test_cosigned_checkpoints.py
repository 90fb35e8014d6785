"""Cosignatures that an auditor demands: by `verify`, and by the commands that need no signerd."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from auditor.adapters.enrolment import load_cosigners
from auditor.cli.app import app
from auditor.config import TrustFiles
from auditor.core.cosigners import Cosigners
from auditor.errors import ConfigError
from birthmark.proof.receipt import Receipt
from harness.audit_bench import Bench, bench
from harness.paper_log import PaperLog, vkey
from harness.paper_witness import PaperWitness

W1, W2 = PaperWitness("w1.example"), PaperWitness("w2.example")


@pytest.fixture
def log() -> PaperLog:
    made = PaperLog()
    made.open_log()
    made.add_station()
    return made


def cosigned(log: PaperLog, *witnesses: PaperWitness) -> bytes:
    bare = log.checkpoint()
    text = bare.rpartition(b"\n\n")[0] + b"\n"
    return bare + b"".join(witness.cosignature(text) for witness in witnesses)


def show(log: PaperLog, checkpoint: bytes) -> None:
    log.lie_checkpoint = lambda _note: checkpoint


def asking(audited: Bench, *witnesses: PaperWitness, at_least: int) -> None:
    found = Cosigners.of([witness.vkey for witness in witnesses], at_least)
    audited.audit._pinned = replace(audited.audit._pinned, cosigners=found)


def test_a_checkpoint_that_lacks_cosignatures_is_found_as_long_as_it_does(
    log: PaperLog, tmp_path: Path
) -> None:
    with bench(log, tmp_path) as audited:
        assert audited.verify().clean
        asking(audited, W1, W2, at_least=2)
        for shown in (log.checkpoint(), cosigned(log, W1), cosigned(log, W1, PaperWitness("stranger"))):
            show(log, shown)
            report = audited.verify()
            assert [found.code.value for found in report.new] == ["F111"]
            assert not report.clean
            assert report.head is not None  # all else was verified, and is kept
        show(log, cosigned(log, W1, W2))
        assert audited.verify().clean


def files(log: PaperLog, folder: Path, *witnesses: PaperWitness) -> list[str]:
    """A receipt of entry 1, the entry, and the log's key, as arguments."""
    proof = tuple(log.tree.inclusion(1, log.tree.size))
    (folder / "receipt").write_bytes(Receipt(1, proof, cosigned(log, *witnesses)).data())
    (folder / "entry").write_bytes(log.entries[1])
    (folder / "log.vkey").write_text(vkey(log.log_key))
    return [str(folder / "receipt"), str(folder / "entry"), "--vkey", str(folder / "log.vkey")]


def receipt(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["receipt", *arguments, "--json"])


def test_the_command_receipt_demands_the_witnesses_that_it_is_given(log: PaperLog, tmp_path: Path) -> None:
    given = files(log, tmp_path, W1)
    one = ["--witness", W1.vkey]
    both = [*one, "--witness", W2.vkey]
    assert json.loads(receipt(*given).stdout)["entry"] == 1
    for more in (one, both, [*both, "--witnesses-required", "1"]):
        assert receipt(*given, *more).exit_code == 0
    refused = receipt(*given, *both, "--witnesses-required", "2")
    assert "F111" in str(refused.exception)
    for wrong in (
        ["--witness", vkey(log.log_key)],
        ["--witness", "junk"],
        ["--witnesses-required", "1"],
        [*one, "--witnesses-required", "2"],
        [*one, *one],
    ):
        assert receipt(*given, *wrong).exit_code == 2


def test_the_settings_name_them_too(tmp_path: Path) -> None:
    (tmp_path / "witnesses").write_text(f"# ours\n{W1.vkey}\n\n{W2.vkey}\n")
    named = tmp_path / "witnesses"

    def trust(witnesses: Path | None, required: int | None = None) -> TrustFiles:
        files = {"log_vkey": tmp_path / "log.vkey", "device_root": tmp_path / "root"}
        return TrustFiles.model_validate(files | {"witnesses": witnesses, "witnesses_required": required})

    assert load_cosigners(trust(None)).witnesses == ()
    assert load_cosigners(trust(named)).at_least == 1
    assert load_cosigners(trust(named, 2)).at_least == 2
    assert load_cosigners(trust(named, 2), 1).at_least == 1
    with pytest.raises(ValueError, match=r"wants trust\.witnesses"):
        trust(None, 1)
    with pytest.raises(ConfigError, match="3 of 2 witnesses"):
        load_cosigners(trust(named, 3))
