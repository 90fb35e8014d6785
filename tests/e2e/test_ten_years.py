"""Ten years in minutes: an installation by the documents, orders every year, every renewal by its documented
command, two sub-CAs and an operations CA replaced. Time moves between starts, and each jump is accepted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from harness.audited import Audited
from harness.factory import LINE, Run
from harness.installation import SENSOR, order_toml
from harness.long_lived import LongLivedInstallation
from harness.moved_time import MovedTime, missing
from harness.process import COMMANDS, run
from harness.softhsm_token import new_token
from tokens import presence

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

YEARS = 10
_YEAR = timedelta(days=365)


class Decade(Audited):
    """The company, its factory and its auditor, year by year."""

    installation: LongLivedInstallation

    def __init__(self, directory: Path, time: MovedTime) -> None:
        self.time = time
        self.directory = directory
        self.installation = LongLivedInstallation(directory / "line", time)
        self.installation.start_signerd()
        self.installation.add_product(SENSOR)
        self.station = self.installation.add_station("plant1", "pc1")
        self.auditor = self.installation.add_auditor("company")
        self.runs: dict[int, Run] = {}

    def new_year(self) -> None:
        """The machine was off for a year, and its clock is right."""
        self.installation.years_later(_YEAR)

    def produce(self, year: int) -> Run:
        """An order of this year, and its boards."""
        order, now = f"WO-{year}", self.time.now()
        chips = [f"chip-{year}-{number}" for number in (1, 2)]
        terms = order_toml(
            order,
            quantity=2,
            stations=[self.station.uri],
            serial_pattern=f"Y{year}-{{number:04d}}",
            not_before=now - timedelta(days=1),
            not_after=now + timedelta(days=30),
        )
        self.installation.open_order(terms)
        keys = self.installation.personalize(chips)
        farm = self.installation.start_boards(keys, f"boards-{year}", **LINE)
        made = Run(self.installation, self.station, farm, order)
        assert made.start_agent().wait() == 0, f"year {year}"
        self.runs[year] = made
        return made

    def renew_station(self) -> None:
        said = self._agent("renew", "--json")
        request = Path(json.loads(said)["request"])
        out = self.directory / "pc1.pem"
        out.unlink(missing_ok=True)
        self.installation.admin(
            "station", "renew", request, "--site", "plant1", "--name", "pc1", "--out", out
        )
        ca = self.installation.home / "operations" / "ca.pem"
        self._agent("renew", "--install", out, "--operations-ca", ca)

    def renew_auditor(self) -> None:
        home, out = self.installation.home, self.directory / "company.pem"
        out.unlink(missing_ok=True)
        request = self.auditor.directory / "auditor.csr.pem"
        self.installation.admin("auditor", "renew", request, "--name", "company", "--out", out)
        run(
            [
                *(
                    COMMANDS / "birthmark-auditor",
                    "enroll",
                    "--dir",
                    self.auditor.directory,
                    "--install",
                    out,
                ),
                *("--operations-ca", home / "operations" / "ca.pem", "--log-vkey", home / "log.vkey"),
                *("--device-root", self.auditor.directory / "device-root.pem"),
                *("--signerd", self.installation.target),
            ]
        )
        self.auditor.certificate_file.write_bytes(out.read_bytes())

    def replace_issuer(self, name: str, *token: str | Path) -> None:
        installation = self.installation
        request = json.loads(installation.admin("ca", "request", name, *token, "--json"))["request"]
        sub_ca, root = installation.signed_offline(Path(request), days=12_000)
        installation.admin("ca", "add", name, "--certificate", sub_ca, "--root", root)
        installation.process.stop()
        installation.start_signerd()
        installation.admin("ca", "activate", name)

    def _agent(self, *arguments: str | Path) -> str:
        command, *rest = arguments
        return run([COMMANDS / "birthmark-agent", command, "--config", self.station.config, *rest])


@pytest.fixture
def decade(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Decade]:
    presence.skip(missing())
    directory = tmp_path_factory.mktemp("decade")
    time = MovedTime(directory)
    time.in_children(monkeypatch)
    assert abs(time.seen() - time.now()) < timedelta(minutes=1)
    with Decade(directory, time) as decade:
        yield decade


def test_ten_years(decade: Decade, tmp_path: Path) -> None:
    installation = decade.installation
    admin = installation.admin
    for year in range(YEARS + 1):
        if year:
            decade.new_year()
        ends = json.loads(admin("calendar", "--json"))
        assert not [end for end in ends if end["which"] in {"server", "peer"} and end["soon"]], year
        if year == 3:
            decade.replace_issuer("main-3")
        if year == 6:
            decade.replace_issuer("main-6", *new_token(tmp_path / "second", decade.time.environment))
            admin("ca", "retire", "main")
        if year == 5:
            admin("operations-ca", "add")
        if year % 2 == 1:
            admin("server", "renew")
            decade.renew_station()
            decade.renew_auditor()
        decade.produce(year)
        decade.verify()
        if year == 6:
            admin("operations-ca", "activate")
        if year == 8:
            admin("operations-ca", "retire")
        admin("check-config")
    run([COMMANDS / "birthmark-auditor", "verify", "--from-scratch", "--config", decade.auditor.config])
    boards = exported(decade, tmp_path / "exported")
    assert len(boards) == 2 * (YEARS + 1)
    assert len({certificate.issuer for certificate in boards.values()}) == 3
    for year in (0, YEARS):
        certificate = boards[f"Y{year}-0001"]
        assert certificate.not_valid_before_utc <= decade.time.now() <= certificate.not_valid_after_utc


def exported(decade: Decade, directory: Path) -> dict[str, x509.Certificate]:
    """By serial number. This process has its own time, in which the server's certificate is not valid yet."""
    run([COMMANDS / "birthmark-auditor", "export", "--out", directory, "--config", decade.auditor.config])
    files = (directory / "certificates").glob("*.pem")
    return {file.stem: x509.load_pem_x509_certificate(file.read_bytes()) for file in files}
