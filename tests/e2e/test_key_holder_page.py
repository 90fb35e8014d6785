"""docs/key-holder.md walked as it is printed, where signerd and the service are different users."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.factory import CHIPS, WORK_ORDER
from harness.machine_with_users import no_machine_with_users
from harness.process import wait_until
from harness.walked_factory import PIN, SERVICE, SIGNERD, WalkedFactory, printed

pytestmark = pytest.mark.check
SHARED = "WO-SHARED"
_SETTINGS = "-c /etc/signerd/signerd.toml"
_TOO_EARLY = f"signerd key-holder take-over {_SETTINGS} --client signerd"
_TAKE_OVER = f"{_TOO_EARLY} --user signerd-key"


@pytest.fixture(scope="module")
def factory() -> Iterator[WalkedFactory]:
    if missing := no_machine_with_users():
        pytest.skip(missing)
    with WalkedFactory() as factory:
        assert "signerd runs: stop it first" in factory.refused(_TOO_EARLY, 3)
        factory.walk()
        yield factory


def test_a_board_of_the_order_that_was_open_and_a_clean_audit(factory: WalkedFactory) -> None:
    run = factory.new_run(boards=1)
    agent = run.start_agent()
    assert agent.wait() == 0, agent.describe()
    factory.finished_once(run)
    said = factory.machine.run("signerd key-holder status", user="signerd-key")
    assert f"{WORK_ORDER}  1 of 100 places certified" in said
    factory.verify()


def test_neither_user_has_what_is_the_others(factory: WalkedFactory) -> None:
    machine = factory.machine
    for path in (
        "/etc/signerd-key/keyholder.toml",
        "/etc/signerd-key/hsm.pin.cred",
        "/var/lib/signerd-key/notes.sqlite",
        "/var/lib/softhsm/tokens",
        f"/run/credentials/{SERVICE}.service/hsm-pin",
    ):
        assert machine.path(path).exists(), path
        assert not machine.may("signerd", "-r", path), path
    for path in ("/etc/signerd/signerd.toml", "/var/lib/signerd/signerd.sqlite", "/var/lib/signerd-head"):
        assert not machine.may("signerd-key", "-r", path), path
        assert not machine.may("signerd-key", "-w", path), path
    assert machine.owner("/etc/signerd/signerd.toml") == "signerd:signerd 644"
    for path in ("/etc/signerd-key", "/var/lib/signerd-key"):
        assert machine.owner(path) == "signerd-key:signerd-key 700"
    assert PIN not in machine.run("grep -rs . /etc/signerd /run/credentials/signerd.service || true")


def test_commands_at_the_desk(factory: WalkedFactory) -> None:
    assert "sub_ca" in factory.machine.run(f"signerd calendar --json {_SETTINGS}", user="signerd")
    said = factory.machine.run(f"signerd check-config --login {_SETTINGS}", user="signerd")
    assert "the service at /run/signerd-key/socket has the keys" in said
    assert "token ''" not in said
    factory.personalized("one-more")
    # Root was at the token, and left nothing that the service's user may not read.
    assert factory.machine.run("find /var/lib/softhsm/tokens /var/lib/signerd-key ! -user signerd-key") == ""


def test_an_order_that_two_key_holders_share(factory: WalkedFactory) -> None:
    order = factory.order(SHARED, quantity=3)
    shares = "quantity = 3\nshares = { main = 1, spare = 2 }\n"
    order.write_text(order.read_text("utf-8").replace("quantity = 3\n", shares), "utf-8")
    factory.approved("order", "open", order)
    run = factory.run_of(SHARED, boards=1)
    assert run.start_agent().wait() == 0
    factory.finished_once(run)


def test_the_wrong_user_is_told_so(factory: WalkedFactory) -> None:
    said = factory.refused("signerd key-holder status", 3, user="signerd")
    assert "Run the command as the service's user" in said
    assert "is this user one of service.clients?" in factory.refused(f"signerd check-config {_SETTINGS}", 3)
    said = factory.installation.units[SERVICE].errors()
    assert "user 0 is none of service.clients" in said


def test_a_backup_is_restored_beside_the_service(factory: WalkedFactory) -> None:
    machine = factory.machine
    factory.give("systemctl stop signerd")
    machine.run("install -d -o signerd -m 0700 /srv/backup")
    machine.run(f"signerd backup {_SETTINGS} --out /srv/backup/a", user="signerd")
    machine.run("mv /etc/signerd /srv/old; rm /var/lib/signerd/signerd.sqlite*")
    machine.run("install -d -o signerd -g signerd -m 0700 /etc/signerd /run/signerd")
    machine.run("signerd restore /srv/backup/a /etc/signerd", user="signerd")
    machine.run(f"signerd database upgrade {_SETTINGS}", user="signerd")
    factory.give("systemctl start signerd")
    run = factory.new_run(boards=1)
    assert run.start_agent().wait() == 0
    factory.verify()


def test_the_service_is_away_and_comes_back(factory: WalkedFactory) -> None:
    factory.give(f"systemctl stop {SERVICE}")
    said = factory.refused(f"signerd check-config {_SETTINGS}", 75, user="signerd")
    assert f"systemctl status {SERVICE}" in said
    factory.give(f"systemctl start {SERVICE}")
    signerd = factory.installation.units[SIGNERD]
    wait_until(lambda: "key_holder_replaced" in signerd.errors(), "signerd to have it", program=signerd)
    run = factory.new_run(boards=1)
    assert run.start_agent().wait() == 0


def test_nothing_is_taken_over_twice(factory: WalkedFactory) -> None:
    factory.give("systemctl stop signerd")
    factory.give(f"systemctl stop {SERVICE}")
    before = factory.machine.run("cat /var/lib/signerd-key/notes.sqlite | sha256sum")
    assert "nothing is left to take over" in factory.refused(_TAKE_OVER, 3)
    assert factory.machine.run("cat /var/lib/signerd-key/notes.sqlite | sha256sum") == before


def test_the_first_machine_is_destroyed_and_a_standby_goes_on(factory: WalkedFactory, tmp_path: Path) -> None:
    """ "A standby", as it is printed. What is put aside is what the page's table names."""
    first = factory.machine
    first.run(f"signerd backup {_SETTINGS} --out /srv/backup/b", user="signerd")
    first.run("tar -C /var/lib -cf /srv/token.tar softhsm/tokens")
    first.run("tar -C /var/lib -cf /srv/second-place.tar signerd-head")
    for name in ("backup/b", "token.tar", "second-place.tar"):
        shutil.copy(first.path(f"/srv/{name}"), tmp_path)
    before = noted(factory)[WORK_ORDER]["places"]
    standby = factory.lost()
    for name in ("b", "token.tar", "second-place.tar"):
        shutil.copy(tmp_path / name, standby.path("/srv/"))
    prepare, restore, handed_over, given = printed("A standby", "sh")
    (token,) = printed("A standby", "toml")
    for line in (
        "adduser --system --group --no-create-home --home /var/lib/signerd signerd",
        "install -d -o signerd -g signerd -m 0700 /etc/signerd /var/lib/signerd /var/lib/signerd-head",
        "cp deploy/systemd/signerd.service /etc/systemd/system/",
        "tar -C /var/lib -xf /srv/second-place.tar; chown -R signerd:signerd /var/lib/signerd-head",
        "mv /srv/b /srv/signerd.backup; chown signerd /srv/signerd.backup",
        *prepare,
        "rm -rf /var/lib/softhsm/tokens/*; tar -C /var/lib -xf /srv/token.tar",
        "adduser signerd-key softhsm; chown -R signerd-key /var/lib/softhsm/tokens",
        *restore,
    ):
        factory.give(line)
    config = factory.installation.config
    text, count = re.subn("(?m)^service = .*$", "\n".join(token), config.read_text("utf-8"))
    assert count == 1
    config.write_text(text, "utf-8")
    for line in handed_over:
        factory.give(line)
    counted = {name: (each["places"], each["share"]) for name, each in noted(factory).items()}
    assert counted == {SHARED: (0, 2), WORK_ORDER: (0, 0)}
    assert certified(factory, SHARED, boards=2) == ["", ""]
    assert certified(factory, WORK_ORDER, boards=1) == ["order_full"]
    (line,) = given
    line = line.replace("WO-2026-117", WORK_ORDER).replace("--places 100", f"--places {CHIPS - before}")
    factory.approved(*line.removesuffix(" --request share.approval").split()[1:])
    assert certified(factory, WORK_ORDER, boards=1) == [""]
    assert noted(factory)[WORK_ORDER]["places"] == 1
    factory.verify()


def certified(factory: WalkedFactory, work_order: str, *, boards: int) -> list[str]:
    """How fresh boards of an order end: with a code, or with none."""
    run = factory.run_of(work_order, boards=boards)
    run.start_agent().wait()
    return sorted(run.outcomes().values())


def noted(factory: WalkedFactory) -> dict[str, dict[str, Any]]:
    """The orders that the service knows."""
    said = json.loads(factory.machine.run("signerd key-holder status --json", user="signerd-key"))
    return {each["work_order"]: each for each in said["orders"]}
