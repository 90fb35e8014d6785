"""Labels in a folder: whole or not at all, for one account alone, never outside; what the start refuses."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.adapters.labels import open_labels
from agent.adapters.labels.folder import LabelFolder, file_stem
from agent.config import LabelPlace
from agent.errors import ConfigError, LabelError
from harness.label_samples import CODE, LABEL, label, template_bytes


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "label.toml").write_bytes(template_bytes())
    (tmp_path / "labels").mkdir()
    return tmp_path


async def test_a_label_is_left_in_every_format(place: Path) -> None:
    config = LabelPlace(
        template=place / "label.toml", folder=place / "labels", formats=("png", "svg", "pdf", "zpl")
    )
    await open_labels(config).put(LABEL)
    names = {file.name for file in (place / "labels").iterdir()}
    assert names == {f"BM-000123_hub%201%20port%203.{name}" for name in ("png", "svg", "pdf", "zpl")}
    assert {stat.S_IMODE(file.stat().st_mode) for file in (place / "labels").iterdir()} == {0o600}


async def test_the_same_label_again_takes_its_place(place: Path) -> None:
    labels = open_labels(LabelPlace(template=place / "label.toml", folder=place / "labels"))
    await labels.put(LABEL)
    (before,) = (place / "labels").iterdir()
    old = before.read_bytes()
    await labels.put(label(code="another-code"))
    (after,) = (place / "labels").iterdir()
    assert after.name == before.name
    assert after.read_bytes() != old


@pytest.mark.parametrize(
    "value",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "a/b",
        "a\\b",
        "C:x",
        "a\0b",
        "x" * 300,
        "工位",
        "~root",
        "*",
    ],
    ids=[
        "up",
        "root",
        "dots",
        "dot",
        "slash",
        "backslash",
        "drive",
        "nul",
        "long",
        "unicode",
        "tilde",
        "star",
    ],
)
@pytest.mark.parametrize("field", ["serial_number", "port"])
async def test_names_never_leave_the_folder(field: str, value: str, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    await LabelFolder(folder).put(label(**{field: value}), {"png": b"1"})
    assert _files(tmp_path) == [folder]
    (file,) = _files(folder)
    assert file.is_file()
    assert file.name.isascii()
    assert not file.name.startswith(".")
    assert len(file.name) < 255


def test_different_labels_have_different_files() -> None:
    pairs = [("a", "b_c"), ("a_b", "c"), ("a/b", "c"), ("a%2Fb", "c"), (".a", "c"), ("%2Ea", "c")]
    pairs += [("x" * 300 + tail, "c") for tail in "ab"]
    stems = [file_stem(label(serial_number=serial, port=port)) for serial, port in pairs]
    assert len(set(stems)) == len(pairs)


async def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "labels", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.write_bytes(b"untouched")
    (folder / f"{file_stem(LABEL)}.png").symlink_to(elsewhere)
    await LabelFolder(folder).put(LABEL, {"png": b"1"})
    assert elsewhere.read_bytes() == b"untouched"


def _full(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _no_room(how: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file can grow beyond 4 KiB, or none reaches the disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if how == "write":
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, limits[1]))
    else:
        monkeypatch.setattr(os, "fsync", _full)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("how", ["fsync", "write"])
async def test_a_full_disk(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = LabelFolder(tmp_path)
    await folder.put(LABEL, {"png": b"old"})
    with _no_room(how, monkeypatch), pytest.raises(LabelError) as refusal:
        await folder.put(LABEL, {"png": bytes(100_000)})
    assert refusal.value.code == "label_folder"
    (file,) = _files(tmp_path)
    assert file.read_bytes() == b"old"


async def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    labels = LabelFolder(folder)
    folder.rmdir()
    with pytest.raises(LabelError, match="No such file"):
        await labels.put(LABEL, {"png": b"1"})


def test_what_a_power_cut_left_is_removed(tmp_path: Path) -> None:
    old, new = tmp_path / ".unfinished-label-1", tmp_path / ".unfinished-label-2"
    for file in (old, new):
        file.write_bytes(b"secret")
    os.utime(old, (0, 0))
    LabelFolder(tmp_path)
    assert list(tmp_path.iterdir()) == [new]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"folder": None}, "neither printer nor folder"),
        ({"formats": ()}, "formats is empty"),
        ({"folder": "missing"}, "does not exist"),
        ({"template": "missing.toml"}, "cannot read the label's template"),
        ({"printer": "tcp://x"}, "no printer's address"),
        ({"printer": "http://printer:80"}, "no printer's address"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refused_at_the_start(changes: dict[str, object], says: str, place: Path) -> None:
    given: dict[str, object] = {"template": place / "label.toml", "folder": place / "labels"}
    open_labels(LabelPlace.model_validate(given))
    paths = {
        key: place / value if key != "printer" and isinstance(value, str) else value
        for key, value in changes.items()
    }
    with pytest.raises(ConfigError, match=says):
        open_labels(LabelPlace.model_validate({**given, **paths}))


@pytest.mark.parametrize("font", ["missing.ttf", "label.toml"])
def test_a_font_that_is_none(font: str, place: Path) -> None:
    (place / "label.toml").write_bytes(template_bytes(font=font))
    with pytest.raises(ConfigError, match="no font"):
        open_labels(LabelPlace(template=place / "label.toml", folder=place / "labels"))


async def test_errors_do_not_tell_the_code(place: Path) -> None:
    labels = open_labels(LabelPlace(template=place / "label.toml", folder=place / "labels"))
    (place / "labels").rmdir()
    with pytest.raises(LabelError) as refusal:
        await labels.put(LABEL)
    error: BaseException | None = refusal.value
    while error is not None:
        assert CODE not in repr(error) + str(error)
        error = error.__cause__
