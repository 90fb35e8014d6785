"""`birthmark-agent label`: what a designer sees, and the first try of a printer."""

from __future__ import annotations

import json
import socket
import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.label_samples import read_codes, template_bytes
from harness.process import COMMANDS, REPOSITORY, ProgramError, run

EXAMPLE = REPOSITORY / "deploy" / "examples" / "label.toml"
_AGENT = """\
deployment = "dev"
state = "state"

[signerd]
address = "127.0.0.1:1"
certificate = "a"
key = "b"
operations_ca = "c"
log_vkey = "d"
device_root = "e"
"""


def _label(*arguments: str | Path, expect: int = 0) -> str:
    return run([COMMANDS / "birthmark-agent", "label", *arguments], expect=expect)


def _told(*arguments: str | Path, expect: int) -> str:
    """What a command says that ends with this code."""
    with pytest.raises(ProgramError) as ended:
        _label(*arguments)
    assert f"ended with {expect}" in str(ended.value)
    return str(ended.value)


def _station(directory: Path, label: str) -> Path:
    (directory / "label.toml").write_bytes(EXAMPLE.read_bytes())
    (directory / "labels").mkdir()
    config = directory / "agent.toml"
    config.write_text(_AGENT + label, encoding="utf-8")
    return config


def test_the_example_is_drawn_in_every_format(tmp_path: Path) -> None:
    said = _label("sample", "--template", EXAMPLE, "--out", tmp_path / "new" / "folder")
    files = {file.suffix: file for file in (tmp_path / "new" / "folder").iterdir()}
    assert set(files) == {".png", ".svg", ".pdf", ".zpl"}
    (payload,) = read_codes(Image.open(files[".png"]))
    sample = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))["sample"]
    assert json.loads(payload)["pop"] == sample["pop"]
    assert payload in said
    assert "41 modules a side, 0.51 mm each" in said


def test_a_template_that_does_not_hold_its_sample(tmp_path: Path) -> None:
    template = tmp_path / "label.toml"
    template.write_bytes(template_bytes(height_mm=15))
    told = _told("sample", "--template", template, "--out", tmp_path / "out", expect=3)
    assert "does not hold its own sample" in told
    assert "take a larger label" in told
    assert not (tmp_path / "out").exists()


def test_a_template_with_an_unknown_key(tmp_path: Path) -> None:
    template = tmp_path / "label.toml"
    template.write_bytes(template_bytes(colour="red"))
    assert "colour" in _told("sample", "--template", template, "--out", tmp_path / "out", expect=3)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    told = _told("sample", "--template", EXAMPLE, "--out", tmp_path / "file" / "out", expect=3)
    assert "cannot make" in told


def test_a_label_goes_to_the_folder(tmp_path: Path) -> None:
    config = _station(tmp_path, '[label]\ntemplate = "label.toml"\nfolder = "labels"\n')
    assert "labels. Throw it away." in _label("test", "-c", config)
    (file,) = (tmp_path / "labels").iterdir()
    assert len(read_codes(Image.open(file))) == 1


def test_a_printer_that_is_off(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # closed before it is used
    config = _station(tmp_path, f'[label]\ntemplate = "label.toml"\nprinter = "tcp://127.0.0.1:{port}"\n')
    told = _told("test", "-c", config, expect=1)
    assert "cannot be reached" in told
    assert "Check the printer" in told


def _doctor(config: Path) -> dict[str, Any]:
    """What `doctor` finds of the labels. All else is wrong: this station was never enrolled."""
    findings = json.loads(run([COMMANDS / "birthmark-agent", "doctor", "--json", "-c", config], expect=1))
    by_check: dict[str, dict[str, Any]] = {finding["check"]: finding for finding in findings}
    return by_check.get("labels", {})


def test_doctor_looks_at_the_labels_places(tmp_path: Path) -> None:
    folder = '[label]\ntemplate = "label.toml"\nfolder = "labels"\n'
    config = _station(tmp_path, folder)
    assert _doctor(config)["ok"]
    assert list((tmp_path / "labels").iterdir()) == []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # closed before it is used
    config.write_text(f'{_AGENT}{folder}printer = "tcp://127.0.0.1:{port}"\n', encoding="utf-8")
    found = _doctor(config)
    assert not found["ok"]
    assert "cannot be reached" in found["detail"]
    config.write_text(_AGENT, encoding="utf-8")
    assert _doctor(config) == {}


def test_doctor_tries_the_names_of_the_ports(tmp_path: Path) -> None:
    label = '[label]\ntemplate = "label.toml"\nfolder = "labels"\n[places]\none = '
    config = _station(tmp_path, f'{label}"12"\n')
    assert _doctor(config)["ok"]
    long = "W" * 64  # the longest that a place may be
    config.write_text(f'{_AGENT}{label}"{long}"\n', encoding="utf-8")
    found = _doctor(config)
    assert not found["ok"]
    assert long in found["detail"]
    assert "[places]" in found["remedy"]


def test_a_station_without_labels(tmp_path: Path) -> None:
    config = _station(tmp_path, "")
    assert "no [label] in agent.toml" in _told("test", "-c", config, expect=3)
