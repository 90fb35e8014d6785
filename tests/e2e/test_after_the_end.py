"""What ended, unseen or long replaced, does not keep signerd from starting: what mends it needs a signerd
that runs. Time moves by years between starts, and each jump is accepted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from harness.long_lived import LongLivedInstallation
from harness.moved_time import MovedTime, missing
from harness.signerd_commands import signerd
from tokens import presence

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]


@pytest.fixture
def installation(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LongLivedInstallation]:
    """Whose first sub-CA ends after 400 days."""
    presence.skip(missing())
    directory = tmp_path_factory.mktemp("ended")
    time = MovedTime(directory)
    time.in_children(monkeypatch)
    with LongLivedInstallation(directory / "line", time, sub_ca_days=400) as installation:
        installation.start_signerd()
        yield installation


def restart(installation: LongLivedInstallation) -> None:
    installation.process.stop()
    installation.start_signerd()


def new_issuer(installation: LongLivedInstallation, name: str, days: int) -> None:
    """By the documented steps."""
    admin = installation.admin
    request = json.loads(admin("ca", "request", name, "--json"))["request"]
    sub_ca, root = installation.signed_offline(Path(request), days=days)
    admin("ca", "add", name, "--certificate", sub_ca, "--root", root)
    restart(installation)
    admin("ca", "activate", name)


def wrong(installation: LongLivedInstallation) -> str:
    """What `check-config` finds, and nothing else of it."""
    code, said = signerd(installation, "check-config")
    assert code != 0, said
    (line,) = [line for line in said.splitlines() if line.startswith("WRONG")]
    return line


def test_signerd_starts_after_the_end_of_each(installation: LongLivedInstallation, tmp_path: Path) -> None:
    admin = installation.admin
    # A sub-CA that was replaced.
    new_issuer(installation, "second", 12_000)
    admin("ca", "retire", "main")
    installation.years_later(timedelta(days=500))
    restart(installation)
    assert "main: retired, ENDED" in admin("check-config")
    assert "main" not in {end["name"] for end in json.loads(admin("calendar", "--json"))}
    admin("crl", "--issuer", "main", "--out", tmp_path / "main.crl")
    renewed = json.loads(admin("server", "renew", "--json"))
    assert renewed["running"]

    # The operations CA, which nobody replaced.
    installation.years_later(timedelta(days=6_900))
    restart(installation)
    assert "signerd operations-ca add" in wrong(installation)
    code, said = signerd(installation, "server", "renew")
    assert (code, "operations-ca add" in said) == (3, True), said
    for step in ("add", "activate", "retire"):
        admin("operations-ca", step)
    admin("check-config")

    # The server's certificate: its renewal needs no signerd that runs.
    installation.years_later(timedelta(days=4_700))
    installation.process.stop()
    code, said = signerd(installation, "run")
    assert (code, "signerd server renew" in said) == (3, True), said
    admin("server", "renew")

    # The sub-CA that issues.
    installation.start_signerd()
    assert "signerd ca add" in wrong(installation)
    (ended,) = [end for end in json.loads(admin("calendar", "--json")) if end["name"] == "second"]
    assert ended["soon"]
    new_issuer(installation, "third", 1_000)
    admin("check-config")
