"""Prometheus metrics of one signerd, in a registry of its own, served on a local port if configured."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from signerd.adapters.start_faults import from_system
from signerd.adapters.witnesses import WitnessState
from signerd.core.ends import End, What
from signerd.errors import ConfigError, Fault

REFRESH_S = 60.0  # how old counts from the database may be
# Seconds. A call of an idle signerd takes a few milliseconds; an HSM in the cloud makes it hundreds.
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_PAGE = os.sysconf("SC_PAGE_SIZE")

_CERTIFICATES = frozenset(What) - {What.CRL, What.PRODUCT, What.ORDER}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BoardCounts:
    """How many certificates there are, over all work orders."""

    issued: int
    stamped: int
    revoked: int
    open_intents: int


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read at the moment of a scrape. The functions are called from another thread."""

    published_size: Callable[[], int]
    tiles_size: Callable[[], int]
    serving: Callable[[], bool]
    key_holders: Callable[[], int]
    clock_right: Callable[[], bool]
    witnesses: Callable[[], Sequence[WitnessState]] = tuple
    bucket_size: Callable[[], int | None] = lambda: None


class Metrics:
    """Counters of calls, and gauges of state."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter("signerd_calls", "Calls by outcome", ("rpc", "code"), registry=self.registry)
        self._seconds = Histogram(
            "signerd_call_seconds", "Time in a call", ("rpc",), buckets=_BUCKETS, registry=self.registry
        )
        self._refusals = Counter("signerd_refusals", "Refused calls", ("code",), registry=self.registry)
        self._certificates = Gauge(
            "signerd_certificates", "Certificates by state", ("state",), registry=self.registry
        )
        self._open_intents = Gauge(
            "signerd_open_intents", "Intents that a crash left open", registry=self.registry
        )
        self._replaced = Counter(
            "signerd_key_holder_restarts", "Key holders that had to be replaced", registry=self.registry
        )
        self._shared_primes = Gauge(
            "signerd_shared_prime_certificates",
            "Certificates whose RSA key shares a prime with another, by state, as of the last search",
            ("state",),
            registry=self.registry,
        )
        self._searched = Gauge(
            "signerd_shared_primes_searched_timestamp_seconds",
            "When the last search for shared primes ended well",
            registry=self.registry,
        )
        self._searches_failed = Counter(
            "signerd_shared_primes_failures",
            "Searches for shared primes that did not end well",
            registry=self.registry,
        )
        self._findings = Gauge(
            "signerd_database_findings",
            "Differences between database and ledger, as of the last comparison",
            registry=self.registry,
        )
        self._compared = Gauge(
            "signerd_database_compared_timestamp_seconds",
            "When the last comparison of database and ledger ended",
            registry=self.registry,
        )
        self._ends = Gauge(
            "signerd_certificate_not_after_timestamp_seconds",
            "When a certificate ends: the installation's own, and each registered peer's",
            ("which",),
            registry=self.registry,
        )
        # labels() looks up under a lock; calls happen a thousand times a second.
        self._ended: set[str] = set()
        self._outcomes: dict[tuple[str, str], Counter] = {}
        self._times: dict[str, Histogram] = {}

    def call(self, rpc: str, code: str, seconds: float, *, refusal: bool) -> None:
        """One call. `rpc` and `code` are of small sets: nothing a caller makes up becomes a label."""
        key = (rpc, code)
        if key not in self._outcomes:
            self._outcomes[key] = self._calls.labels(rpc, code)
            self._times[rpc] = self._seconds.labels(rpc)
        self._outcomes[key].inc()
        self._times[rpc].observe(seconds)
        if refusal:
            self._refusals.labels(code).inc()

    def key_holder_replaced(self) -> None:
        """A key holder serves again after one was lost."""
        self._replaced.inc()

    def boards(self, counts: BoardCounts) -> None:
        """New counts from the database."""
        self._certificates.labels("issued").set(counts.issued)
        self._certificates.labels("stamped").set(counts.stamped)
        self._certificates.labels("revoked").set(counts.revoked)
        self._open_intents.set(counts.open_intents)

    def shared_primes(self, *, valid: int, revoked: int, finished_at: datetime) -> None:
        """What a search for shared primes found among all certificates."""
        self._shared_primes.labels("valid").set(valid)
        self._shared_primes.labels("revoked").set(revoked)
        self._searched.set(finished_at.timestamp())

    def database_compared(self, *, findings: int, ended_at: datetime) -> None:
        """What a comparison of the whole database with the ledger found."""
        self._findings.set(findings)
        self._compared.set(ended_at.timestamp())

    def ends(self, ends: Iterable[End]) -> None:
        """What ends, all of it anew. Of several certificates of one kind, the one that ends first."""
        by_which: dict[str, float] = {}
        for end in ends:
            if end.what in _CERTIFICATES:
                which = end.name if end.what is What.PEER else end.what.value
                by_which[which] = min(end.at.timestamp(), by_which.get(which, end.at.timestamp()))
        for which in self._ended - by_which.keys():
            self._ends.remove(which)
        for which, seconds in by_which.items():
            self._ends.labels(which).set(seconds)
        self._ended = set(by_which)

    def shared_primes_failed(self) -> None:
        """A search did not end well; what the last one found stands."""
        self._searches_failed.inc()

    def watch(self, gauges: Gauges) -> None:
        """Adds what is read at each scrape."""
        self.registry.register(_State(gauges))

    async def keep_counts(self, count: Callable[[], Awaitable[BoardCounts]]) -> None:
        """Reads the database again and again, until cancelled. A store that does not answer is for later."""
        while True:
            try:
                self.boards(await count())
            except Fault as error:
                _log.warning("metrics_not_refreshed", detail=error.detail)
            await asyncio.sleep(REFRESH_S)

    def serve(self, listen: str) -> Callable[[], None]:
        """Serves them on `host:port` from a thread; returns what stops it.

        Raises:
            ConfigError: the address is not of its form or cannot be bound.
        """
        host, _, port = listen.rpartition(":")
        try:
            server, thread = start_http_server(int(port), host.strip("[]"), registry=self.registry)
        except OSError as error:
            raise from_system(f"metrics.listen: cannot listen on {listen}: {error}", error) from error
        except (ValueError, OverflowError) as error:
            raise ConfigError(f"metrics.listen: cannot listen on {listen}: {error}") from error

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop


class _State(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Called by the registry, once a scrape."""
        gauges = self._gauges
        yield _gauge(
            "signerd_ledger_published_size", "Entries under the last checkpoint", gauges.published_size()
        )
        yield _gauge(
            "signerd_ledger_tiles_size",
            "Entries under the checkpoint in the folder of tiles",
            gauges.tiles_size(),
        )
        if (size := gauges.bucket_size()) is not None:
            yield _gauge("signerd_ledger_bucket_size", "Entries under the checkpoint in the bucket", size)
        yield _gauge("signerd_serving", "1 while certificates can be signed", gauges.serving())
        yield _gauge("signerd_clock_right", "0 while the clock cannot be right", gauges.clock_right())
        yield _gauge("signerd_key_holders", "Key holder processes that serve", gauges.key_holders())
        yield from _of_witnesses(gauges.witnesses())
        yield _gauge("signerd_resident_bytes", "Resident memory of signerd itself", _resident_bytes())

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: the registry would have to scrape for it."""
        return ()


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _of_witnesses(states: Sequence[WitnessState]) -> Iterator[Metric]:
    cosigned = GaugeMetricFamily(
        "signerd_witness_cosigned_size", "Entries under the last cosigned checkpoint", labels=["witness"]
    )
    alarm = GaugeMetricFamily(
        "signerd_witness_alarm", "1 where a witness saw another or a larger tree", labels=["witness"]
    )
    for state in states:
        cosigned.add_metric([state.name], state.cosigned)
        alarm.add_metric([state.name], float(state.alarm))
    if states:
        yield cosigned
        yield alarm


def _resident_bytes() -> int:
    # proc(5): the second number of statm is resident pages.
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
