"""docs/key-holder.md walked as it is printed, where signerd and the service are different users."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.factory import WORK_ORDER
from harness.machine_with_users import no_machine_with_users
from harness.process import wait_until
from harness.walked_factory import PIN, SERVICE, SIGNERD, WalkedFactory

pytestmark = pytest.mark.check
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


def test_the_wrong_user_is_told_so(factory: WalkedFactory) -> None:
    said = factory.refused("signerd key-holder status", 3, user="signerd")
    assert "run the command as the service's user" in said
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
