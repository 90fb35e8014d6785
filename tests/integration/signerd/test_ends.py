"""What ends, of real files: who is named, how often it is said, and what the metric has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from harness.installation import SENSOR
from signerd.adapters import device_ca
from signerd.adapters.ends import (
    WARN_S,
    EndsWatch,
    certificate_ends,
    ended_for_good,
    evidence_root_ends,
    peer_ends,
    product_ends,
)
from signerd.adapters.installation import parts
from signerd.adapters.installation.layout import Layout, write_certificate
from signerd.adapters.installation.settings_file import Choices, write_settings
from signerd.adapters.metrics import Metrics
from signerd.adapters.store.values import ProductRevision
from signerd.config import Config
from signerd.core.ends import End, What
from signerd.core.issuers import IssuerRecord, IssuerState
from signerd.core.names import parse_peer_uri
from signerd.errors import ConfigError, Unavailable
from signerd.ports import PeerRecord

NOW = datetime.now(UTC).replace(microsecond=0)
PC1, PC2 = (f"birthmark://example/station/plant1/pc{number}" for number in (1, 2))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    layout = Layout(tmp_path_factory.mktemp("ends"))
    for folder in (layout.operations, layout.ca):
        folder.mkdir()
    parts.write_operations(layout, "example", ("localhost",), NOW)
    root, _ = device_ca.create_root("example", NOW)
    write_certificate(layout.ca / "root.pem", root)
    write_certificate(layout.sub_ca, root)
    choices = Choices(
        "example", "127.0.0.1:0", (), "example/log", Path("/none"), "none", "prompt", metrics=False
    )
    return write_settings(layout, choices)


def days(ends: Sequence[End]) -> dict[What, int]:
    return {end.what: end.days_left(NOW) for end in ends}


def test_all_certificates_of_an_installation(settings: Config) -> None:
    expected = {What.SERVER: 825, What.OPERATIONS_CA: 7300, What.SUB_CA: 14_600, What.ROOT: 14_600}
    assert days(certificate_ends(settings)) == expected


def test_what_stands_above_the_sub_ca_is_among_them(settings: Config) -> None:
    file = settings.authority.certificate
    before = file.read_bytes()
    file.write_bytes(before + settings.server.client_ca.read_bytes())
    try:
        assert days(certificate_ends(settings))[What.ISSUER] == 7300
    finally:
        file.write_bytes(before)


def test_of_a_retired_issuer_nothing_ends_once_it_has_ended(settings: Config) -> None:
    def gone(state: IssuerState, *, after: int) -> frozenset[str]:
        record = IssuerRecord(1, "main", "main", state, bytes(32), bytes(32), 0)
        return ended_for_good(settings, [record], NOW + timedelta(days=after))

    assert gone(IssuerState.RETIRED, after=14_599) == frozenset()
    assert gone(IssuerState.STANDBY, after=14_601) == frozenset()
    assert gone(IssuerState.RETIRED, after=14_601) == {"main"}
    assert days(certificate_ends(settings, {"main"})) == {What.SERVER: 825, What.OPERATIONS_CA: 7300}


def peer(uri: str, key: bytes, *, ends: float | None, revoked: bool = False) -> PeerRecord:
    until = None if ends is None else NOW + timedelta(days=ends)
    return PeerRecord(parse_peer_uri(uri), key, NOW, NOW if revoked else None, until)


def test_of_a_peer_the_certificate_that_it_uses_counts() -> None:
    old, new, unknown = peer(PC1, b"1", ends=10), peer(PC1, b"2", ends=800), peer(PC2, b"3", ends=None)
    assert [end.days_left(NOW) for end in peer_ends([old, new, unknown], {})] == [800]
    used = peer_ends([old, new, unknown], {PC1: NOW + timedelta(days=10), PC2: NOW + timedelta(days=20)})
    assert {end.name: end.days_left(NOW) for end in used} == {PC1: 10, PC2: 20}
    assert peer_ends([peer(PC1, b"1", ends=10, revoked=True)], {PC1: NOW}) == []


def test_the_last_day_of_an_order_of_each_product() -> None:
    issuer_ends = NOW + timedelta(days=9000)

    def last(certificate: str) -> int | None:
        text = SENSOR.replace("validity_days = 7300", certificate)
        found = product_ends([ProductRevision("sensor", b"", text, NOW)], lambda _ca: issuer_ends)
        return found[0].days_left(NOW) if found else None

    assert last("validity_days = 7300") == 1700
    assert last("unknown = 1") is None
    assert last('not_after = "99991231235959Z"') == 9000
    fixed = NOW + timedelta(days=100)
    assert last(f'not_after = "{fixed:%Y%m%d%H%M%SZ}"') == 100


def test_the_roots_that_a_product_trusts_about_chips() -> None:
    """Evidence below a root that has ended is refused."""
    root, _ = device_ca.create_root("chips", NOW)
    section = f'[evidence.x509]\nroots = ["""{root.public_bytes(Encoding.PEM).decode()}"""]\n\n[certificate]'
    text = SENSOR.replace('["hmac-sha256"]', '["x509"]').replace("[certificate]", section)
    (trusted,) = evidence_root_ends("sensor", (SENSOR, text, text, "unknown = 1"))
    assert trusted.name == "sensor: x509 CN=Birthmark development root CA,O=chips"
    assert (trusted.what, trusted.at) == (What.EVIDENCE_ROOT, root.not_valid_after_utc)


class Watched:
    """A watch over one end, and a clock that the test moves."""

    def __init__(self, ends: list[End]) -> None:
        self.ends, self.seconds, self.fails = ends, 0.0, False
        self.metrics = Metrics()
        self.read_at = asyncio.Event()
        self.watch = EndsWatch(
            self.read, clock=lambda: NOW, seconds=lambda: self.seconds, show=self.metrics.ends
        )

    async def read(self) -> list[End]:
        self.read_at.set()
        if self.fails:
            raise Unavailable("the database does not answer")
        return self.ends

    def said(self) -> list[str]:
        with capture_logs() as lines:
            asyncio.run(self.watch.look())
        return [f"{line['which']} {line['days']}" for line in lines if line["event"] == "ends_soon"]

    def shown(self, which: str) -> bool:
        text = generate_latest(self.metrics.registry).decode()
        return f'signerd_certificate_not_after_timestamp_seconds{{which="{which}"}}' in text


def test_said_once_a_day_and_again_when_something_changed() -> None:
    watched = Watched([End(What.SERVER, "CN=signerd", NOW + timedelta(days=10))])
    assert watched.said() == ["server 10"]
    watched.seconds = WARN_S - 1
    assert watched.said() == []
    watched.seconds = WARN_S
    assert watched.said() == ["server 10"]
    watched.watch.changed()
    assert watched.said() == ["server 10"]
    watched.ends = [End(What.SERVER, "CN=signerd", NOW + timedelta(days=825))]
    watched.watch.changed()
    assert watched.said() == []


def test_any_number_of_peers_is_one_line() -> None:
    ends = [End(What.PEER, f"{PC1}-{number}", NOW + timedelta(days=5)) for number in range(1000)]
    watched = Watched([*ends, End(What.SUB_CA, "CN=sub-CA", NOW + timedelta(days=9))])
    assert watched.said() == ["sub_ca 9", "peer 5"]


def test_the_metric_follows() -> None:
    watched = Watched([End(What.SERVER, "CN=signerd", NOW), End(What.PEER, PC1, NOW), End(What.CRL, "", NOW)])
    watched.said()
    assert (watched.shown("server"), watched.shown(PC1), watched.shown("crl")) == (True, True, False)
    watched.ends = watched.ends[:1]
    watched.said()
    assert (watched.shown("server"), watched.shown(PC1)) == (True, False)


def test_a_look_that_fails_is_for_the_next_one() -> None:
    watched = Watched([End(What.SERVER, "CN=signerd", NOW)])
    watched.fails = True

    async def run() -> None:
        watching = asyncio.create_task(watched.watch.watch())
        await watched.read_at.wait()
        watched.fails = False
        watched.read_at.clear()
        watched.watch.changed()
        await watched.read_at.wait()
        watching.cancel()
        await asyncio.wait((watching,))

    with capture_logs() as lines:
        asyncio.run(run())
    assert [line["event"] for line in lines] == ["ends_not_read", "ends_soon"]


def test_a_file_that_cannot_be_read_is_named(settings: Config) -> None:
    gone = settings.authority.model_copy(update={"root": Path("/no")})
    with pytest.raises(ConfigError, match="cannot read /no"):
        certificate_ends(settings.model_copy(update={"authority": gone}))
