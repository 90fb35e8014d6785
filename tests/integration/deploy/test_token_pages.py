"""deploy/hsm: the commands of each token's page run as printed, and the probe says what the page says."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.process import COMMANDS, REPOSITORY, run
from harness.signerd_commands import SIGNERD
from tokens import opencryptoki, presence, tpm2_token, yubikey
from tokens.opencryptoki import OpencryptokiToken
from tokens.piv_card import PivCard
from tokens.tpm2_token import Tpm2Token
from tokens.yubikey import VirtualYubiKey

pytestmark = pytest.mark.check

_PAGES = REPOSITORY / "deploy" / "hsm"
_PIN = "123456"


@contextmanager
def _softhsm(folder: Path) -> Iterator[Mapping[str, str]]:
    (folder / "tokens").mkdir()
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder / 'tokens'}\n")
    yield {"SOFTHSM2_CONF": str(settings)}


@contextmanager
def _yubikey(_: Path) -> Iterator[Mapping[str, str]]:
    presence.skip(yubikey.missing())
    with VirtualYubiKey(PivCard(serial=51)) as key:
        yield key.environment


@contextmanager
def _tpm2(_: Path) -> Iterator[Mapping[str, str]]:
    presence.skip(tpm2_token.missing())
    with Tpm2Token() as token:
        yield {name: value for name, value in token.environment.items() if name != "TPM2_PKCS11_STORE"}


@contextmanager
def _opencryptoki(_: Path) -> Iterator[Mapping[str, str]]:
    presence.skip(opencryptoki.missing())
    with OpencryptokiToken(initialized=False) as token:
        yield token.environment


_BEDS = {"softhsm.md": ("## What it can do", _softhsm), "yubikey.md": ("## Look at it", _yubikey)}
_BEDS["tpm2.md"] = ("## Look at it", _tpm2)
_BEDS["opencryptoki.md"] = ("## Look at it", _opencryptoki)


def _part(page: str) -> str:
    text = (_PAGES / page).read_text("utf-8")
    return text.partition(f"\n{_BEDS[page][0]}\n")[2].partition("\n## ")[0]


def _rows(part: str, head: str) -> list[list[str]]:
    """Of the table that begins with `head`, without the marks of code."""
    table = part.partition(f"\n| {head} |")[2].partition("\n\n")[0]
    return [
        [cell.replace("`", "").strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()[2:]
    ]


def _where_signerd_finds_the_token(folder: Path, environment: Mapping[str, str]) -> Path:
    """A folder for PATH with a `signerd` that is told how this bed differs from a machine of its own."""
    commands = folder / "commands"
    commands.mkdir()
    given = [f"--hsm-env={name}={value}" for name, value in environment.items()]
    script = commands / "signerd"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(str(SIGNERD))} "$@" {shlex.join(given)} --json\n')
    script.chmod(0o755)
    return commands


@pytest.mark.parametrize("page", sorted(_BEDS))
def test_the_pages_commands_give_the_pages_report(page: str, tmp_path: Path) -> None:
    part = _part(page)
    commands = "\n".join(re.findall(r"^    (.+)$", part, re.MULTILINE))
    assert "signerd token probe" in commands
    (tmp_path / "token.pin").write_text(_PIN)
    (tmp_path / "token.pin").chmod(0o400)
    with _BEDS[page][1](tmp_path) as environment:
        ours = _where_signerd_finds_the_token(tmp_path, environment)
        path = f"{ours}:{COMMANDS}:{os.environ['PATH']}"
        printed = run(
            ["sh", "-eu", "-c", commands],
            directory=tmp_path,
            environment={**os.environ, **environment, "PATH": path},
        )
    report = json.loads(printed[printed.index("\n{\n") if not printed.startswith("{") else 0 :])
    roles = [[each[name] for name in ("key", "where")] for each in report["roles"]]
    by = [[each[name] and f"CKM_{each[name]}" for name in ("used_by", "made_by")] for each in report["roles"]]
    assert _rows(part, "key") == [[*role, *names] for role, names in zip(roles, by, strict=True)]
    tried = [[f"{each['key']}, CKM_{each['mechanism']}", each["outcome"]] for each in report.get("tried", [])]
    assert sorted(_rows(part, "tried")) == sorted(tried)


def test_each_page_of_a_token_that_was_run_is_in_the_list() -> None:
    listed = (_PAGES / "README.md").read_text("utf-8").partition("\n## Tokens\n")[2]
    for page in _BEDS:
        assert f"({page})" in listed
