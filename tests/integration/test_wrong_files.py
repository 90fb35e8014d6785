"""A wrong file of settings is told by all three programs in the same words, with the remedy, on one line.
They end with the same code. Files that people write for signerd are told likewise."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest
from pydantic import BaseModel, ValidationError

import agent.adapters.cli.app
import agent.adapters.drivers.esp32.options
import agent.adapters.drivers.smp
import agent.config
import agent.core.bundle_build
import agent.core.label_template
import auditor.__main__
import auditor.config
import signerd.__main__
import signerd.adapters.keyholder.service.settings
import signerd.config
import signerd.core.order_file
import signerd.core.product
from agent.core.file_problems import problems
from harness.installation import order_toml

CONFIGURATION = 3  # docs/operations.md, "Exit codes"
MOST = 2_600  # characters: eight problems, a path and a remedy


@dataclass(frozen=True, slots=True)
class Program:
    """One of the three, and the words that are its own."""

    name: str
    main: Callable[[], None]
    command: tuple[str, ...]
    maker: str
    reader: str
    page: str


AGENT = Program(
    "birthmark-agent",
    agent.adapters.cli.app.main,
    ("ports", "-c"),
    "birthmark-agent enroll",
    "the station's user",
    "docs/stations.md",
)
AUDITOR = Program(
    "birthmark-auditor",
    auditor.__main__.main,
    ("verify", "-c"),
    "birthmark-auditor enroll",
    "the auditor's user",
    "deploy/examples/auditor.toml",
)
SIGNERD = Program(
    "signerd",
    signerd.__main__.main,
    ("check-config", "-c"),
    "signerd init",
    "signerd's user",
    "deploy/examples/signerd.toml",
)
PROGRAMS = (AGENT, AUDITOR, SIGNERD)

NAME_IT = "Name the file itself with --config."
MEND_LINE = "Mend that line."
SAVE = "Save the file as UTF-8."


def nothing(_path: Path) -> None:
    """There is no file."""


def folder(path: Path) -> None:
    path.mkdir()


def below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_bytes(b"")


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def holding(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


@dataclass(frozen=True, slots=True)
class Wrong:
    """A file with one thing wrong. `{maker}` and the like stand for each program's own words."""

    make: Callable[[Path], None]
    said: str
    remedy: str


WRONG = {
    "missing": Wrong(
        nothing,
        "there is no such file",
        "Name the right one with --config, or make one: `{maker}`.",
    ),
    "folder": Wrong(folder, "it is a folder", NAME_IT),
    "below a file": Wrong(below_a_file, "a folder of its path is a file", NAME_IT),
    "empty": Wrong(holding(b""), "it is empty", "Make one anew: `{maker}`."),
    "blank": Wrong(holding(b"\n \r\n"), "it is empty", "Make one anew: `{maker}`."),
    "large": Wrong(
        holding(b"#" * 1_048_577), "it has more than 1,048,576 bytes", "Name the right file with --config."
    ),
    "no TOML": Wrong(
        holding(b"deployment = 'a'\nstate\n"),
        "line 2, column 6 is not TOML: expected '=' after a key in a key/value pair",
        MEND_LINE,
    ),
    "no quotes": Wrong(
        holding(b"deployment = acme\n"),
        "line 1, column 14 is not TOML: this is no TOML value: put texts in quotes",
        MEND_LINE,
    ),
    "backslashes": Wrong(
        holding(b'state = "C:\\ProgramData"\n'),
        "line 1, column 14 is not TOML: a backslash in double quotes: write paths in single quotes",
        MEND_LINE,
    ),
    "key twice": Wrong(
        holding(b"deployment = 'a'\ndeployment = 'b'\n"),
        "line 2, column 17 is not TOML: this key is given twice",
        MEND_LINE,
    ),
    "table twice": Wrong(
        holding(b"[signerd]\n[signerd]\n"),
        "line 2, column 9 is not TOML: this table is given twice",
        MEND_LINE,
    ),
    "escape sequence": Wrong(
        holding(b"deployment = \x1b[31m\n"),
        "line 1, column 14 is not TOML: this is no TOML value: put texts in quotes",
        MEND_LINE,
    ),
    "binary": Wrong(
        holding(b"\x7fELF\x02\x01\x01\x00\x00"),
        "line 1 has a NUL byte, so it is UTF-16 or no text at all",
        SAVE,
    ),
    "latin-1": Wrong(
        holding("deployment = 'Prüfling'\n".encode("latin-1")),
        "line 1 has a byte that is not UTF-8 (0xfc)",
        SAVE,
    ),
    "utf-16": Wrong(holding("a = 1".encode("utf-16")), "it is UTF-16", SAVE),
    "mark twice": Wrong(
        holding(b"\xef\xbb\xbf\xef\xbb\xbfa = 1\n"),
        "line 1, column 1 is not TOML: invalid statement",
        MEND_LINE,
    ),
    "deep": Wrong(holding(b"a = " + b"[" * 50_000), "its brackets nest too deeply", "Take some away."),
    "long number": Wrong(
        holding(b"a = " + b"9" * 10_000), "a number in it has too many digits", "Shorten it."
    ),
}


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.name)
def program(request: pytest.FixtureRequest) -> Program:
    chosen: Program = request.param
    return chosen


class Said(Protocol):
    """Runs a program's command on a file; what it says on standard error."""

    def __call__(self, program: Program, path: Path, code: int = CONFIGURATION) -> str: ...


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Said:
    """Runs a program's command on a file; what it says on standard error."""

    def run(program: Program, path: Path, code: int = CONFIGURATION) -> str:
        monkeypatch.setattr(sys, "argv", [program.name, *program.command, str(path)])
        with pytest.raises(SystemExit) as ended:
            program.main()
        out, err = capfd.readouterr()
        assert (ended.value.code, out) == (code, "")
        return err

    return run


@dataclass(frozen=True, slots=True)
class Written:
    """A file that people write, and a command that reads it before all else."""

    command: tuple[str, ...]
    page: str
    most: str  # bytes


PRODUCT = Written(("product", "add"), 'docs/formats.md, "Product file",', "32,768")
WRITTEN = {
    "product add": PRODUCT,
    "explain": Written(("explain", "no-such-file", "--product"), PRODUCT.page, PRODUCT.most),
    "order open": Written(("order", "open"), 'docs/formats.md, "Work order file",', "32,768"),
    "order rehearse": Written(("order", "rehearse"), 'docs/formats.md, "Work order file",', "32,768"),
}
REFUSED = 1  # docs/operations.md, "Exit codes"
OF_WRITTEN = {
    "missing": Wrong(nothing, "there is no such file", "Name the right one, or write one: {page} shows how."),
    "folder": Wrong(folder, "it is a folder", "Name the file itself."),
    "below a file": Wrong(below_a_file, "a folder of its path is a file", "Name the file itself."),
    "empty": Wrong(holding(b" \n"), "it is empty", "{page} shows what belongs in it."),
    "large": Wrong(holding(b"#" * 40_000), "it has more than {most} bytes", "Name the right file."),
    "endless": Wrong(endless, "it has more than {most} bytes", "Name the right file."),
    "latin-1": WRONG["latin-1"],
    "mark": Wrong(
        holding(b"\xef\xbb\xbfv = 1\n"),
        "it begins with a byte order mark",
        "Save it as UTF-8 without one.",
    ),
    "no TOML": WRONG["no TOML"],
    "no quotes": WRONG["no quotes"],
}


@pytest.fixture(params=WRITTEN.values(), ids=list(WRITTEN))
def written(request: pytest.FixtureRequest) -> Written:
    chosen: Written = request.param
    return chosen


@pytest.mark.parametrize("wrong", OF_WRITTEN.values(), ids=OF_WRITTEN)
def test_a_wrong_file_of_an_administrator_is_told_in_the_same_words(
    written: Written, wrong: Wrong, tmp_path: Path, said: Said
) -> None:
    path = tmp_path / "of" / "it.toml"
    path.parent.mkdir()
    wrong.make(path)
    program = replace(SIGNERD, command=written.command)
    what, remedy = wrong.said.format(most=written.most), wrong.remedy.format(page=written.page)
    assert said(program, path, REFUSED) == f"signerd: {path}: {what}. {remedy}\n"


def test_a_wrong_key_of_an_administrators_file(written: Written, tmp_path: Path, said: Said) -> None:
    path = tmp_path / "it.toml"
    path.write_text("colour = 'red'\nv = 'one'\n", "utf-8")
    err = said(replace(SIGNERD, command=written.command), path, REFUSED)
    assert err.startswith(f"signerd: {path}: v: ")
    assert "; colour: no such key" in err or re.search(r"; and \d+ more\. ", err)
    assert err.endswith(f". Mend these keys: {written.page} shows them all.\n")


def test_settings_of_an_order_that_no_board_can_have(tmp_path: Path, said: Said) -> None:
    path = tmp_path / "it.toml"
    text = order_toml("WO-1", quantity=1, stations=["birthmark://acme/station/plant1/pc1"])
    path.write_text(text.replace("[settings]\n", "[settings]\nserial = 'mine'\n"), "utf-8")
    err = said(replace(SIGNERD, command=("order", "open")), path, REFUSED)
    page = WRITTEN["order open"].page
    problem = 'settings: "serial" is set by signerd'
    assert err == f"signerd: {path}: {problem}. Mend [settings]: {page} says what may stand there.\n"


@pytest.mark.parametrize("name", ["no TOML", "no quotes", "latin-1", "utf-16"])
@pytest.mark.parametrize(
    "command", [("bundle", "build", "--out", "none.zip"), ("label", "sample", "--out", "none", "--template")]
)
def test_a_companys_file_for_the_agent_is_told_in_the_same_words(
    command: tuple[str, ...], name: str, tmp_path: Path, said: Said
) -> None:
    path = tmp_path / "it.toml"
    WRONG[name].make(path)
    err = said(replace(AGENT, command=command), path)
    assert err == f"birthmark-agent: {path}: {WRONG[name].said}. {WRONG[name].remedy}\n"


def of(program: Program, text: str) -> str:
    return text.format(maker=program.maker, reader=program.reader, page=program.page)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_told_in_the_same_words(
    program: Program, wrong: Wrong, tmp_path: Path, said: Said
) -> None:
    path = tmp_path / "of" / "it.toml"
    path.parent.mkdir()
    wrong.make(path)
    assert said(program, path) == f"{program.name}: {path}: {wrong.said}. {of(program, wrong.remedy)}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="rights are other ones there")
def test_a_file_that_may_not_be_read(program: Program, tmp_path: Path, said: Said) -> None:
    path = tmp_path / "it.toml"
    path.write_bytes(b"")
    path.chmod(0)
    said(program, tmp_path / "gone.toml")  # loads the command's modules, which only root may read here
    with nobody():
        err = said(program, path)
    remedy = f"Run the command as {program.reader}."
    assert err == f"{program.name}: {path}: this user may not read it. {remedy}\n"


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, where the tests have them."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


# Keys that all three have, and a value of another type for each.
@pytest.mark.parametrize(
    ("there", "what"),
    [
        (b"deployment = 1\n", "deployment: must be a text in quotes"),
        (
            b"deployment = ''\n",
            "deployment: must be 1 to 64 of [A-Za-z0-9._-], beginning with a letter or digit",
        ),
        (b"colour = 'red'\n", "colour: no such key"),
        (b"'\\u001b[31m' = 1\n", "\\u001b[31m: no such key"),
        (b'"\\u001b[31m\\n" = 1\n', "?[31m?: no such key"),
        (b"\xef\xbb\xbfdeployment = true\r\n", "deployment: must be a text in quotes"),
        (b"", "deployment: it is missing"),
    ],
)
def test_a_wrong_key_is_told_in_the_same_words(
    program: Program, there: bytes, what: str, tmp_path: Path, said: Said
) -> None:
    path = tmp_path / "it.toml"
    path.write_bytes(there or b"# nothing\n")
    err = said(program, path)
    assert f" {what}" in err
    assert err.endswith(f". Mend these keys: {program.page} shows them all.\n")
    assert err.count("\n") == 1
    assert err.removesuffix("\n").isprintable()


def test_what_is_told_is_bounded(program: Program, tmp_path: Path, said: Said) -> None:
    folder_ = tmp_path
    for _ in range(4):
        folder_ /= "f" * 200
    folder_.mkdir(parents=True)
    path = folder_ / "it.toml"
    path.write_text("".join(f"{'k' * 3_000}{number} = 1\n" for number in range(300)))
    err = said(program, path)
    assert len(err) < MOST
    assert "/it.toml: " in err
    assert re.search(r"; and \d{3} more\. ", err)


# Everything that people write and that pydantic reads.
MODELS = (
    agent.config.Config,
    agent.core.bundle_build._Description,
    agent.core.label_template.LabelTemplate,
    agent.adapters.drivers.esp32.options.Esp32Options,
    agent.adapters.drivers.smp.SmpOptions,
    auditor.config.Config,
    signerd.config.Config,
    signerd.adapters.keyholder.service.settings.KeyHolderConfig,
    signerd.core.product.Product,
    signerd.core.order_file._OrderFile,
)
VALUES: tuple[object, ...] = (
    True,
    -1,
    10**12,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "x" * 5_000,
    [],
    [1],
    ["x"] * 500,
    {},
    {"x": 1},
)
# The library's own way to begin a sentence.
LIBRARY = re.compile(
    r"Input should|Field required|Extra inputs|should have|should be|Unable to|\{[a-z_]+\}|[Vv]alidation"
)


def tables(model: type[BaseModel]) -> Iterator[dict[str, object]]:
    """For each key a table with each of the values, and for the keys of a table that it takes likewise."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        yield from ({key: value} for value in VALUES)
        for inner in models_in(field.annotation):
            for table in tables(inner):
                yield {key: table}
                yield {key: [table]}


def models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in models_in(part)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.__module__}.{model.__name__}")
def test_no_text_is_the_librarys(model: type[BaseModel]) -> None:
    said = set()
    for table in tables(model):
        try:
            model.model_validate(table)
        except ValidationError as error:
            said.update(problems(error))
    assert len(said) > 5
    assert [text for text in sorted(said) if LIBRARY.search(text)] == []


@pytest.mark.skipif(sys.platform == "win32", reason="no file can be called that there")
def test_a_name_with_an_escape_sequence_is_shown_without_it(
    program: Program, tmp_path: Path, said: Said
) -> None:
    path = tmp_path / "it\x1b[31m\nred.toml"
    path.write_bytes(b"x")
    err = said(program, path)
    assert f"{program.name}: {tmp_path}/it?[31m?red.toml: its end is not TOML: " in err
    assert err.removesuffix("\n").isprintable()
