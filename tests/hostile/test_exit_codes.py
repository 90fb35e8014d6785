"""Exit codes of `signerd run`: causes of docs/operations.md, "Exit codes", on a real installation."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from harness.installation import Installation
from harness.process import COMMANDS
from harness.signerd_commands import changed, signerd
from signerd.adapters.cli.exits import Exit

pytestmark = pytest.mark.check

Cause = Callable[[Installation], AbstractContextManager[object]]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("exits") / "fresh") as installation:
        yield installation


def settings(old: str, new: str) -> Cause:
    return lambda installation: changed(installation, old, new)


@contextmanager
def away(path: Path) -> Iterator[None]:
    path.rename(path.with_name("away"))
    yield
    if path.exists():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.with_name("away").rename(path)


@contextmanager
def taken(installation: Installation, section: str) -> Iterator[None]:
    """A port that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"127.0.0.1:{other.getsockname()[1]}"
        with ExitStack() as changes:
            if section == "server":
                changes.enter_context(changed(installation, "127.0.0.1:0", where))
            else:
                text = f'[metrics]\nlisten = "{where}"\n\n[database]'
                changes.enter_context(changed(installation, "[database]", text))
            yield


@contextmanager
def no_token(installation: Installation) -> Iterator[None]:
    tokens = installation.home / "softhsm" / "tokens"
    with away(tokens):
        tokens.mkdir()
        yield


@contextmanager
def held(installation: Installation) -> Iterator[None]:
    """Another signerd has the second place, and nothing else: one that is still ending."""
    lock = installation.home / "head" / "checkpoint.lock"
    with subprocess.Popen(["flock", "--exclusive", lock, "cat"], stdin=subprocess.PIPE) as other:
        while subprocess.run(["flock", "--nonblock", lock, "true"], check=False).returncode == 0:
            pass
        yield
        other.communicate()


@contextmanager
def damaged(path: Path, data: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(data)
    yield
    path.write_bytes(before)


@contextmanager
def wrong_pin(installation: Installation) -> Iterator[None]:
    pin = installation.home / "hsm.pin"
    pin.chmod(0o600)
    with damaged(pin, b"000000\n"):
        pin.chmod(0o400)
        yield
        pin.chmod(0o600)
    pin.chmod(0o400)


CAUSES: dict[str, tuple[Exit, str, Cause]] = {
    "port in use": (Exit.NOT_NOW, "in use", lambda it: taken(it, "server")),
    "metrics' port in use": (Exit.NOT_NOW, "in use", lambda it: taken(it, "metrics")),
    "an address that is not there yet": (
        Exit.NOT_NOW,
        "cannot listen on 192.0.2.1",
        settings("127.0.0.1:0", "192.0.2.1:8443"),
    ),
    "second place held": (Exit.NOT_NOW, "another signerd", held),
    "no token": (Exit.NOT_NOW, "no token", no_token),
    "token of another label": (Exit.CONFIGURATION, "it has 'birthmark-dev'", settings("birthmark-dev", "bd")),
    "key of another label": (
        Exit.CONFIGURATION,
        "NoSuchKey",
        settings("[hsm]\n", '[hsm]\nca_key = "another"\n'),
    ),
    "no such module": (Exit.CONFIGURATION, "cannot load", settings("libsofthsm2.so", "nothing.so")),
    "unknown setting": (Exit.CONFIGURATION, "wrong", settings("[hsm]\n", "[hsm]\nwrong = 1\n")),
    "no database": (Exit.CONFIGURATION, "no database", lambda it: away(it.home / "signerd.sqlite")),
    "a damaged database": (
        Exit.CONFIGURATION,
        "not a database",
        lambda it: damaged(it.home / "signerd.sqlite", b"x" * 8192),
    ),
    "no second place": (
        Exit.CONFIGURATION,
        "is the second place mounted?",
        lambda it: away(it.home / "head" / "checkpoint"),
    ),
    "no certificate": (
        Exit.CONFIGURATION,
        "restore it from the backup",
        lambda it: away(it.home / "ca" / "sub-ca.pem"),
    ),
    "a name that is none": (
        Exit.CONFIGURATION,
        "cannot listen on",
        settings("127.0.0.1:0", "no-such-host.invalid:8443"),
    ),
    "a name with a label that is too long": (
        Exit.CONFIGURATION,
        "cannot listen on",
        settings("127.0.0.1:0", f"{64 * 'a'}.example:8443"),
    ),
    "no directory for the port's file": (
        Exit.CONFIGURATION,
        "server.port_file",
        settings('"signerd.port"', '"nowhere/signerd.port"'),
    ),
    "wrong PIN": (Exit.WRONG_PIN, "correct the PIN", wrong_pin),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_start_that_fails_ends_with_the_code_of_its_cause(installation: Installation, cause: str) -> None:
    code, reason, produced = CAUSES[cause]
    with produced(installation):
        ended, said = signerd(installation, "run")
    assert (ended, reason in said) == (code, True), said
    assert "Traceback" not in said


# In a mount namespace of its own: what is read-only, or has no room, is so for signerd alone.
MOUNTS = {
    "read-only": 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1"',
    "full": (
        'cp -a "$1" "$1.kept" && mount -t tmpfs -o size=2m none "$1" && cp -a "$1.kept/." "$1"'
        ' && { cat /dev/zero >"$1/filler" 2>/dev/null; true; }'
    ),
}


# A second place that is full keeps nobody from starting: signerd then serves once there is room.
@pytest.mark.parametrize(("mount", "part"), [("read-only", "."), ("read-only", "head"), ("full", ".")])
def test_a_mount_that_cannot_be_written_is_for_now(installation: Installation, mount: str, part: str) -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here")
    folder = installation.home / part
    script = f'{MOUNTS[mount]} && exec "$2" run -c "$3"'
    command: list[str | Path] = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        folder,
        COMMANDS / "signerd",
        installation.config,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    shutil.rmtree(f"{folder}.kept", ignore_errors=True)
    assert done.returncode == Exit.NOT_NOW, done.stderr
    assert "Traceback" not in done.stderr


def test_a_started_one_ends_with_none(installation: Installation) -> None:
    assert installation.start_signerd().stop() == 0
    assert signerd(installation, "run", "--no-such-option")[0] == Exit.USAGE
    assert signerd(installation, "order", "list")[0] == Exit.UNREACHABLE
