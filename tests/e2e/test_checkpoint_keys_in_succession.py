"""The log's key replaced twice by documented commands, once with another token: no station stops, auditors
follow by themselves, a station of before learns the newer key from a file, and a backup made then goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.factory import LINE, Factory, Run
from harness.restored import goes_on_from_backup
from harness.signerd_commands import change, signerd
from harness.softhsm_token import new_token

pytestmark = pytest.mark.check


def restarted(factory: Factory) -> None:
    factory.installation.process.stop()
    factory.installation.start_signerd()


def line(factory: Factory) -> Run:
    return factory.new_run(boards=1, **LINE)


def certified(factory: Factory) -> None:
    run = line(factory)
    assert run.start_agent().wait() == 0
    factory.finished_once(run)


def said(factory: Factory, *arguments: str | Path) -> Any:
    return json.loads(factory.installation.admin("checkpoint-key", *arguments, "--json"))


def listed(factory: Factory) -> dict[str, tuple[str, bool]]:
    return {each["key"]: (each["state"], each["serving"]) for each in said(factory, "list")}


def refused(factory: Factory, *arguments: str) -> str:
    code, text = signerd(factory.installation, "checkpoint-key", *arguments)
    assert code == 1, text
    return text


def test_a_new_key_and_then_a_new_token(factory: Factory, tmp_path: Path) -> None:
    installation = factory.installation
    (first,) = listed(factory)
    assert "is the only one that signs" in refused(factory, "retire", first)
    made = said(factory, "add")
    second = made["key"]
    assert "retire one of them first" in refused(factory, "add")
    assert listed(factory) == {first: ("signing", True), second: ("announced", False)}
    assert "restart signerd" in refused(factory, "activate", second)
    assert "does not sign yet" in installation.admin("check-config")
    restarted(factory)
    assert listed(factory) == {first: ("signing", True), second: ("announced", True)}
    said(factory, "activate", second)
    assert "already" in refused(factory, "activate", second)
    certified(factory)  # of a station that pins the first key alone
    factory.verify()

    pinned = factory.station.directory / "log.vkey"
    pinned.write_text(pinned.read_text("ascii") + made["vkey"] + "\n", "ascii")
    said(factory, "retire", first)
    assert listed(factory) == {first: ("retired", True), second: ("signing", True)}
    change(installation, "[hsm]\n", '[hsm]\ncheckpoint_key_in = "none"\n')
    restarted(factory)
    assert listed(factory) == {first: ("retired", False), second: ("signing", True)}
    certified(factory)
    factory.verify()
    assert "checkpoint of" in installation.admin("check-config")

    token = new_token(tmp_path / "second")
    third = said(factory, "add", *token)
    pinned.write_text(f"{made['vkey']}\n{third['vkey']}\n", "ascii")
    restarted(factory)
    said(factory, "activate", third["key"])
    said(factory, "retire", second, "--reason", "compromised")
    certified(factory)
    late = installation.add_auditor("late")  # with the first key, from the folder of signerd
    factory.auditor = late
    factory.verify()

    goes_on_from_backup(installation, tmp_path / "backup")
    certified(factory)
    factory.verify()
    pinned.write_text(made["vkey"] + "\n", "ascii")
    agent = line(factory).start_agent()  # which nobody gave the third key
    assert agent.wait() == 1
    assert "the checkpoint is not signed by a key that log_vkey pins" in agent.output()


@pytest.fixture
def factory(tmp_path: Path) -> Any:
    with Factory(tmp_path / "factory") as factory:
        yield factory
