"""`signerd key-holder take-over`: killed before each of its writes, given again; and what it leaves alone."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.process import COMMANDS, run
from signerd.adapters import durable_files
from signerd.adapters.keyholder.service.settings import ServiceSettings
from signerd.adapters.keyholder.service.settings import load as load_key_holder
from signerd.adapters.keyholder.service.taking_over import plan, take_over
from signerd.config import load
from signerd.errors import ConfigError

pytestmark = pytest.mark.check
_KILLED = 9
_WRITES: tuple[tuple[Any, str], ...] = (
    (durable_files, "replace"),
    (durable_files, "write_new"),
    (Path, "unlink"),
    (os, "chown"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation that was never started."""
    home = tmp_path_factory.mktemp("made") / "signerd"
    run([COMMANDS / "signerd", "init", home, "--dev", "--deployment", "dev", "--listen", "127.0.0.1:0"])
    return home


def _asked(directory: Path) -> Any:
    service = ServiceSettings(
        socket=directory / "s", notes=directory / "notes" / "notes.sqlite", clients=(str(os.getuid()),)
    )
    settings = directory / "key-holder" / "keyholder.toml"
    return plan(directory / "signerd" / "signerd.toml", settings, service, str(os.getuid()))


def _done(directory: Path) -> None:
    take_over(_asked(directory))


def _killed_before(number: int, work: Callable[[], object]) -> bool:
    """Does it in a process that ends without any clean-up before this write; False: it had fewer."""
    child = os.fork()
    if child == 0:
        try:
            _end_before(number)
            work()
        except BaseException:  # noqa: BLE001 -- a child of the test must not become a second test
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, _KILLED)
    return code == _KILLED


def _end_before(number: int) -> None:
    left = [number]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os._exit(_KILLED)
            return real(*arguments, **named)

        return write

    for module, name in _WRITES:
        setattr(module, name, counted(getattr(module, name)))


def test_killed_before_each_write_and_given_again(made: Path, tmp_path: Path) -> None:
    pin = made / load(made / "signerd.toml").hsm.pin.removeprefix("file:")
    inside = pin.relative_to(made)
    number, killed = 0, True
    while killed:
        number += 1
        directory = tmp_path / str(number)
        shutil.copytree(made, directory / "signerd")
        killed = _killed_before(number, partial(_done, directory))
        config = load(directory / "signerd" / "signerd.toml")
        if config.hsm.service is None:  # as it was: signerd starts with its token
            assert (directory / "signerd" / inside).read_bytes() == pin.read_bytes()
        if killed:
            _done(directory)
        assert load(directory / "signerd" / "signerd.toml").hsm.service == directory / "s"
        assert not (directory / "signerd" / inside).exists()
        held = load_key_holder(directory / "key-holder" / "keyholder.toml")
        assert Path(held.hsm.pin.removeprefix("file:")).read_bytes() == pin.read_bytes()
        assert not list((directory / "key-holder").glob("*.unfinished"))
        with pytest.raises(ConfigError, match="nothing is left to take over"):
            _asked(directory)
    assert number > len(_WRITES)


@pytest.mark.parametrize("used", ["key-holder", "notes"])
def test_a_directory_that_is_in_use_is_left_alone(made: Path, tmp_path: Path, used: str) -> None:
    shutil.copytree(made, tmp_path / "signerd")
    (tmp_path / used).mkdir(mode=0o755)
    (tmp_path / used / "notes.sqlite").write_bytes(b"another one's")
    with pytest.raises(ConfigError, match=f"{used} is not empty"):
        _asked(tmp_path)
    assert (tmp_path / used / "notes.sqlite").read_bytes() == b"another one's"
    assert (tmp_path / used).stat().st_mode & 0o777 == 0o755


@pytest.mark.skipif(os.getuid() != 0, reason="a mount of its own takes root")
def test_a_pin_that_is_mounted_from_outside_stays_where_it_is(made: Path, tmp_path: Path) -> None:
    """A container's secret is read-only: it is neither copied to a disk nor removed."""
    shutil.copytree(made, tmp_path / "signerd")
    settings = tmp_path / "key-holder" / "keyholder.toml"
    signerd = tmp_path / "signerd" / "signerd.toml"
    pin = tmp_path / "signerd" / load(signerd).hsm.pin.removeprefix("file:")
    mounted = f"mount --bind {pin} {pin} && mount -o remount,ro,bind {pin}"
    where = f"--to {settings} --state {tmp_path / 'notes'} --socket {tmp_path / 's'} -c {signerd}"
    command = f"{COMMANDS / 'signerd'} key-holder take-over {where} --client root"
    said = run(["unshare", "--mount", "--propagation", "private", "sh", "-euc", f"{mounted} && {command}"])
    assert f"TO DO: file:{pin} is mounted from outside" in said
    assert load_key_holder(settings).hsm.pin == f"file:{pin}"
    assert load(signerd).hsm.service == tmp_path / "s"
    assert pin.exists()
    assert not list(settings.parent.glob("*.pin"))


def test_a_database_that_is_not_what_the_ledger_says(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "signerd")
    with closing(sqlite3.connect(tmp_path / "signerd" / "signerd.sqlite")) as database:
        database.execute("INSERT INTO administrator_sets VALUES (1, 0, '[]')")
        database.commit()
    with pytest.raises(ConfigError, match="not what the ledger says, first administrator_sets"):
        _asked(tmp_path)
    assert not (tmp_path / "notes").exists()
