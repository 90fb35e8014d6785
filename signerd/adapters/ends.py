"""What ends, of an installation's own files and of what its key holder's service shows, and the watch that a
running signerd keeps over all of it.

A warning is a line of the log, once a day, for each certificate of the installation, and one line for all
peers together: however many there are, they hide nothing else. The metric has each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import structlog
from cryptography import x509

from signerd.adapters.keyholder.service.shown_ends import read_ends
from signerd.adapters.start_faults import unreadable
from signerd.adapters.store import SqlStore
from signerd.adapters.store.values import ProductRevision
from signerd.config import Config, Keys
from signerd.core.ends import End, What, due
from signerd.core.issuers import IssuerRecord, IssuerState
from signerd.core.product import parse_product
from signerd.core.product_trust import root_ends
from signerd.core.rehearsal import certifies_until
from signerd.errors import ConfigError, Fault, Refused, Unavailable
from signerd.issuers import Issuers
from signerd.ports import PeerRecord

LOOK_S = 3600.0  # between two looks
WARN_S = 86_400.0  # between two warnings
_NAMED = 20  # peers in a line

_log = structlog.get_logger(__name__)


def ended_for_good(config: Config, records: Iterable[IssuerRecord], now: datetime) -> frozenset[str]:
    """Issuers that are retired and whose certificate has ended, as those of their boards have: nothing of
    them stops any more, and nothing can be done. Raises ConfigError for a file."""
    retired = {record.name for record in records if record.state is IssuerState.RETIRED}
    return frozenset(
        issuer.name
        for issuer in config.all_issuers
        if issuer.name in retired and _certificates(issuer.certificate)[0].not_valid_after_utc < now
    )


def certificate_ends(config: Config, without: Collection[str] = ()) -> list[End]:
    """Server, operations CA, and those of `issuer_ends`. Raises as that one."""
    return [
        *(_end(What.SERVER, each) for each in _certificates(config.server.certificate)[:1]),
        *(_end(What.OPERATIONS_CA, each) for each in _certificates(config.server.client_ca)),
        *issuer_ends(config, without),
    ]


def issuer_ends(config: Keys, without: Collection[str] = ()) -> list[End]:
    """Each issuer's sub-CA, what stands above it, and the root. `without`: issuers to leave out.

    Raises:
        ConfigError: a file cannot be read, or is no certificate.
    """
    ends: list[End] = []
    for issuer in (each for each in config.all_issuers if each.name not in without):
        sub_ca, *above = _certificates(issuer.certificate)
        ends.append(End(What.SUB_CA, issuer.name, sub_ca.not_valid_after_utc))
        ends += [_end(What.ISSUER, each) for each in above]
        ends += [_end(What.ROOT, each) for each in _certificates(issuer.root)]
    return list(dict.fromkeys(ends))


def key_holder_ends(config: Config, own: Collection[End], without: Collection[str] = ()) -> list[End]:
    """Of the certificates that a key holder's service has, those that are not signerd's own too: its issuer
    ends with the copies that it has. Raises ConfigError: what it shows is not of its form."""
    tokens = (config.hsm, *(each.hsm for each in config.issuers))
    sockets = dict.fromkeys(each.service for each in tokens if each is not None and each.service is not None)
    shown = [end for socket in sockets for end in read_ends(socket)]
    others = [
        end for end in shown if end not in own and not (end.what is What.SUB_CA and end.name in without)
    ]
    return [replace(end, name=f"{end.name}, as the key holder has it") for end in dict.fromkeys(others)]


def peer_ends(peers: Iterable[PeerRecord], shown: Mapping[str, datetime]) -> list[End]:
    """Of registered peers: the certificate that it called with last, else the newest that is known.

    Where neither is known there is nothing to say: `signerd station list` shows that.
    """
    ends: dict[str, datetime] = {}
    for peer in peers:
        uri, newest = peer.name.uri, peer.not_after
        if peer.revoked_at is not None:
            continue
        if uri in shown:
            ends[uri] = shown[uri]
        elif newest is not None:
            ends[uri] = max(newest, ends.get(uri, newest))
    return [End(What.PEER, uri, at) for uri, at in ends.items()]


def product_ends(products: Iterable[ProductRevision], issuer_ends: Callable[[str], datetime]) -> list[End]:
    """The last day of an order of each; a product that cannot be ordered has none. `issuer_ends`: when the
    issuer of a CA ends; it raises where there is none."""
    ends = []
    for revision in products:
        try:
            product = parse_product(revision.toml)
            product.certificate.check_written()
            issuer = issuer_ends(product.certificate.ca)
            until, _ = certifies_until(product, issuer)
        except (ValueError, Refused, Unavailable):  # no order of it passes its rehearsal, which says why
            continue
        ends.append(End(What.PRODUCT, revision.name, min(until, issuer)))
    return ends


def evidence_root_ends(name: str, revisions: Iterable[str]) -> list[End]:
    """Of the roots that a product trusts about chips, in any of these revisions (TOML)."""
    ends = []
    for text in revisions:
        try:
            product = parse_product(text)
        except Refused:  # of an earlier version of signerd: its orders take no boards either
            continue
        ends += [End(What.EVIDENCE_ROOT, f"{name}: {root}", at) for root, at in root_ends(product.evidence)]
    return list(dict.fromkeys(ends))


class Ends:
    """All that ends, of a running signerd."""

    def __init__(
        self,
        config: Config,
        store: SqlStore,
        shown: Mapping[str, datetime],
        issuers: Issuers,
        clock: Callable[[], datetime],
    ) -> None:
        """`shown`: of each peer, the end of the certificate that it called with last."""
        self._issuers = issuers
        self._clock = clock
        self.config = config
        self._store = store
        self._shown = shown

    async def read(self) -> list[End]:
        """In no order. Raises ConfigError for a file, Fault for the store."""
        config, store = self.config, self._store
        now = self._clock()
        gone = await asyncio.to_thread(ended_for_good, config, self._issuers.records, now)
        ends = await asyncio.to_thread(certificate_ends, config, gone)
        ends += await asyncio.to_thread(_of_key_holder, config, ends, gone)
        ends += peer_ends(await store.list_peers(), self._shown)
        updates = await store.crl_next_updates()
        ends += [End(What.CRL, issuer, at) for issuer, at in updates.items() if issuer not in gone]
        ends += [End(What.ORDER, order, at) for order, at in (await store.open_windows(now)).items()]
        products = await store.list_products()
        for product in products:  # an open order keeps the revision that it was opened with
            kept = await store.open_revisions(product.name)
            ends += await asyncio.to_thread(evidence_root_ends, product.name, (product.toml, *kept))
        return ends + await asyncio.to_thread(product_ends, products, self._issuer_ends)

    def _issuer_ends(self, ca: str) -> datetime:
        return self._issuers.active(ca).issuer.allows.ends


def _of_key_holder(config: Config, own: Collection[End], gone: Collection[str]) -> list[End]:
    """Whatever a service shows, signerd's own dates are warned of."""
    try:
        return key_holder_ends(config, own, gone)
    except ConfigError as error:
        _log.warning("key_holder_ends_not_read", detail=str(error))
        return []


def _end(what: What, certificate: x509.Certificate) -> End:
    return End(what, certificate.subject.rfc4514_string(), certificate.not_valid_after_utc)


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise ConfigError(f"{path} is not a certificate in PEM") from error


class EndsWatch:
    """Lives on the event loop."""

    def __init__(
        self,
        read: Callable[[], Awaitable[Sequence[End]]],
        *,
        clock: Callable[[], datetime],
        seconds: Callable[[], float],
        show: Callable[[Sequence[End]], None],
    ) -> None:
        """`read` finds what ends. `seconds` only goes forward. `show` is given all of it, for the metrics."""
        self._read = read
        self._clock = clock
        self._seconds = seconds
        self._show = show
        self._warned: float | None = None
        self._again = asyncio.Event()

    def changed(self) -> None:
        """A certificate was renewed: looks at once, and warns of what is still due."""
        self._warned = None
        self._again.set()

    async def watch(self) -> None:
        """Until cancelled. What cannot be read is for the next look."""
        while True:
            self._again.clear()
            try:
                await self.look()
            except (ConfigError, Fault) as error:
                _log.warning("ends_not_read", detail=str(error))
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._again.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Shows all, and warns if the last warning was a day ago. Raises ConfigError or Fault."""
        ends = await self._read()
        self._show(ends)
        now = self._seconds()
        if self._warned is not None and now - self._warned < WARN_S:
            return
        self._warned = now
        _warn(due(ends, self._clock()), self._clock())


def _warn(ends: Sequence[End], now: datetime) -> None:
    peers = [end for end in ends if end.what is What.PEER]
    for end in ends:
        if end.what is not What.PEER:
            _log.warning("ends_soon", **_members(end, now), name=end.name)
    if peers:
        named = [end.name for end in peers[:_NAMED]]
        _log.warning("ends_soon", **_members(peers[0], now), peers=len(peers), names=named)


def _members(end: End, now: datetime) -> dict[str, object]:
    return {
        "which": end.what.value,
        "not_after": f"{end.at:%Y-%m-%dT%H:%M:%SZ}",
        "days": end.days_left(now),
        "stops": end.stops,
        "remedy": end.remedy,
    }
