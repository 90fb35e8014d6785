"""A production file in the hands of somebody who wants it to say something else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from auditor.core.report import form
from auditor.errors import CheckFailed, ConfigError, Malformed
from harness.doctored_files import DOCTORED, doctored
from harness.paper_log import PaperLog
from harness.production_files import (
    files_of,
    fitted,
    four_boards,
    of_a_rogue_issuer,
    pack,
    production_file,
    trusted,
    verdict,
)


@dataclass(frozen=True)
class Honest:
    """An archive and its log."""

    log: PaperLog
    path: Path


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Honest:
    log = four_boards()
    return Honest(log, production_file(log, tmp_path_factory.mktemp("honest")))


def test_the_honest_twin_holds_after_it_was_packed_again(honest: Honest, tmp_path: Path) -> None:
    path = pack(tmp_path / "again.zip", fitted(files_of(honest.path)))
    assert path.read_bytes() == honest.path.read_bytes()
    assert verdict(path, trusted(honest.log)).problems == ()


@pytest.mark.parametrize("name", DOCTORED)
def test_a_doctored_file_is_refused_with_its_reason(honest: Honest, tmp_path: Path, name: str) -> None:
    path = doctored(name, honest.path, tmp_path, honest.log)
    try:
        problems = "; ".join(verdict(path, trusted(honest.log)).problems)
    except (Malformed, CheckFailed) as error:
        problems = str(error)
    assert DOCTORED[name].reason in problems


@pytest.mark.parametrize("name", [form.PAGE, form.README, form.FINDINGS])
def test_what_no_signature_covers_is_named(honest: Honest, tmp_path: Path, name: str) -> None:
    """Whoever alters these makes the manifest fit: nothing shows it, and so it has to be said."""
    files = files_of(honest.path)
    path = pack(tmp_path / "altered.zip", fitted(files | {name: b""}))
    found = verdict(path, trusted(honest.log))
    assert found.problems == ()
    assert any(name in note and "the word of whoever made the file" in note for note in found.notes)


def test_a_root_that_nobody_gave_is_named(honest: Honest) -> None:
    found = verdict(honest.path, replace(trusted(honest.log), roots=()))
    assert any("no root was given" in note for note in found.notes)


def test_a_board_s_key_makes_no_issuer(tmp_path: Path) -> None:
    log, path = of_a_rogue_issuer(tmp_path)
    problems = verdict(path, trusted(log)).problems
    assert any(problem.startswith("an issuer") for problem in problems)


def test_every_cut_and_many_flipped_bytes_are_refused(honest: Honest, tmp_path: Path) -> None:
    data = honest.path.read_bytes()
    path = tmp_path / "cut.zip"
    for size in range(0, len(data), 997):
        path.write_bytes(data[:size])
        with pytest.raises(Malformed):
            verdict(path, trusted(honest.log))
    for at in range(0, len(data), 997):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(Malformed):
            verdict(path, trusted(honest.log))


def test_a_file_that_is_not_there(honest: Honest, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        verdict(tmp_path / "no.zip", trusted(honest.log))
