"""What `signerd check-config` and `signerd run` refuse before anything is served."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from harness.installation import Installation
from harness.signerd_commands import changed, signerd
from signerd.adapters.checks import Check, all_checks, start_checks
from signerd.config import load
from signerd.errors import ConfigError

pytestmark = pytest.mark.check


@pytest.mark.parametrize(
    ("what", "mode", "named"),
    [
        ("admin", 0o755, "0700"),
        ("hsm.pin", 0o600, "chmod 0400"),
        pytest.param("operations/server.key", 0o644, "0600", marks=pytest.mark.check),
    ],
)
def test_what_others_could_reach_is_refused(
    unstarted: Installation, what: str, mode: int, named: str
) -> None:
    path = unstarted.home / what
    before = path.stat().st_mode & 0o777
    path.chmod(mode)
    for command in ("run", "check-config"):
        code, said = signerd(unstarted, command)
        assert (code, named in said) == (3, True)
    path.chmod(before)


def test_a_wrong_pin(fresh: Installation) -> None:
    pin = fresh.home / "hsm.pin"
    pin.chmod(0o600)
    pin.write_text("wrong-pin\n", "ascii")
    pin.chmod(0o400)
    code, said = signerd(fresh, "run")
    assert (code, "wrong-pin" in said) == (77, False)
    assert signerd(fresh, "check-config")[0] == 0
    checks = json.loads(fresh.admin("check-config", "--json"))
    assert checks["passed"]
    assert [check["name"] for check in checks["checks"] if check["passed"]][:2] == [
        "configuration",
        "server certificate",
    ]
    assert signerd(fresh, "check-config", "--login")[0] == 77


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('token = "birthmark-dev"', 'token = "birthmark-dev"\ncolour = 1', "hsm.colour"),
        pytest.param("[ledger]", "[ledger", "TOML", marks=pytest.mark.check),
        ('key = "operations/server.key"', 'key = "operations/ca.key"', "is not the key of"),
        pytest.param(
            'certificate = "ca/sub-ca.pem"',
            'certificate = "operations/ca.pem"',
            "issued",
            marks=pytest.mark.check,
        ),
        ('url = "sqlite:///signerd.sqlite"', 'url = "sqlite:///other.sqlite"', "signerd init"),
        pytest.param('origin = "dev.', 'origin = "other.', "origin", marks=pytest.mark.check),
        ('head = "head/checkpoint"', 'head = "head/none"', "head/none: is the second place mounted?"),
        pytest.param(
            'vkey = "log.vkey"', 'vkey = "none.vkey"', "restore it from the backup", marks=pytest.mark.check
        ),
        pytest.param(
            'socket = "admin/admin.sock"', 'socket = "none/admin.sock"', "none", marks=pytest.mark.check
        ),
        pytest.param(
            'socket = "admin/admin.sock"',
            'socket = "admin/a\\u0000.sock"',
            "admin.socket: must not hold a zero",
            marks=pytest.mark.check,
        ),
        ('key = "operations/server.key"', 'key = "a\\u0000"', "server.key: must not hold a zero"),
    ],
)
def test_a_wrong_configuration_is_named(unstarted: Installation, old: str, new: str, named: str) -> None:
    with changed(unstarted, old, new):
        code, said = signerd(unstarted, "check-config")
        assert (code, named in said) == (3, True), said


def socket_of(unstarted: Installation, size: int, letter: str) -> str:
    """The name of a socket whose path has this many bytes."""
    room = size - len(os.fsencode(unstarted.home / "admin")) - 1
    number, rest = divmod(room, len(letter.encode()))
    return f"admin/{letter * number}{'a' * rest}"


@pytest.mark.parametrize("letter", ["s", "\u00e9"])
def test_a_sockets_path_that_is_too_long_is_refused_by_all_commands(
    unstarted: Installation, letter: str
) -> None:
    with changed(unstarted, "admin/admin.sock", socket_of(unstarted, 108, letter)):
        for command in (("run",), ("check-config",), ("order", "list")):
            code, said = signerd(unstarted, *command)
            assert (code, "has 108 bytes" in said, "at most 107" in said) == (3, True, True), said


def test_the_longest_path_of_a_socket_serves(fresh: Installation) -> None:
    with changed(fresh, "admin/admin.sock", socket_of(fresh, 107, "\u00e9")):
        fresh.start_signerd()
        assert signerd(fresh, "order", "list")[0] == 0
        fresh.process.stop()


def test_check_config_finds_a_module_that_is_none(unstarted: Installation) -> None:
    module = unstarted.directory / "module.so"
    module.write_bytes(b"no module")
    text = unstarted.config.read_text("utf-8")
    old = next(line for line in text.splitlines() if line.startswith("module = "))
    with changed(unstarted, old, f'module = "{module}"'):
        code, said = signerd(unstarted, "check-config")
    assert (code, "hsm.module" in said) == (3, True)


def found(checks: tuple[Check, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """What each of them says, and what the others raise."""
    held, failed = {}, {}
    for check in checks:
        try:
            held[check.name] = check.run()
        except ConfigError as error:
            failed[check.name] = str(error)
    return held, failed


def test_what_only_a_running_signerd_can_mend_does_not_keep_it_from_starting(unstarted: Installation) -> None:
    """Of an installation whose server's certificate ends first, then its operations CA, then its sub-CA."""
    config, home = load(unstarted.config), unstarted.home
    later = [datetime.now(UTC) + timedelta(days=days) for days in (900, 7400, 12_800)]
    starts = [found(start_checks(config, home, now)) for now in later]
    assert [set(failed) for _, failed in starts] == [{"server certificate"}, set(), set()]
    assert "signerd server renew" in starts[0][1]["server certificate"]
    assert "signerd operations-ca add" in starts[1][0]["server certificate"]
    assert "signerd ca add" in starts[2][0]["issuers"]
    checked = [found(all_checks(config, home, now))[1] for now in later]
    assert [set(failed) for failed in checked] == [
        {"server certificate"},
        {"server certificate"},
        {"server certificate", "issuers"},
    ]
    assert "signerd ca add" in checked[2]["issuers"]
