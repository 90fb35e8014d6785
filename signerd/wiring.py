"""The daemon's composition root: chooses every implementation, starts them in order, ends them in reverse.

`__main__` loads this module for `signerd run` alone, so that the other commands start at once.

    start: checks, key holders, store, refusals, administrators' socket, peers' port, metrics, READY
    end:   no new calls; calls under way finish; refusals and entries are written; key holders end
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import structlog

from signerd.adapters import durable_files, systemd
from signerd.adapters.administrators_file import read_administrators
from signerd.adapters.checkpoint_key_holders import CheckpointKeyHolders, vkey_in
from signerd.adapters.checks import start_checks
from signerd.adapters.clock import ClockGuard, ReferenceFile, read_clocks, this_boot
from signerd.adapters.commit_keys import CommitKeys
from signerd.adapters.database_check import Compared, DatabaseCheck
from signerd.adapters.descriptors import connections_within_limit
from signerd.adapters.ends import Ends, EndsWatch
from signerd.adapters.issuer_key_holders import IssuerKeyHolders
from signerd.adapters.key_quality import KeyChecks
from signerd.adapters.keyholder.pool import KeyHolderPool, settings_for
from signerd.adapters.keyholder.told import ToldServices
from signerd.adapters.line_writer import LineWriter, standard_error
from signerd.adapters.linting import SampleLinter
from signerd.adapters.logs import LogLevel, configure_logs
from signerd.adapters.metrics import BoardCounts, Gauges, Metrics
from signerd.adapters.moved_peers import MovedPeers
from signerd.adapters.mtls import PeerIdentities, ServerCertificate, TrustedCas
from signerd.adapters.operations_ca import load_ca
from signerd.adapters.pin import pin_of
from signerd.adapters.rate_limit import Rate, RateLimiter
from signerd.adapters.refusals import LedgerRefusals
from signerd.adapters.reload import Reload
from signerd.adapters.rpc.accounting import UnrecordedCalls, accountant
from signerd.adapters.rpc.admin import AdminService
from signerd.adapters.rpc.admission import AdministratorAdmission, PeerAdmission
from signerd.adapters.rpc.audit import AuditService
from signerd.adapters.rpc.gate import Gate
from signerd.adapters.rpc.health import health_handler
from signerd.adapters.rpc.renewal import CALLS as RENEWALS
from signerd.adapters.rpc.renewal import Caller, IdentifiedAdmission, RenewalService
from signerd.adapters.rpc.server import PeerListener, admin_server, foreign_method_name
from signerd.adapters.rpc.signing import SigningService
from signerd.adapters.rpc.station_check import DemandedWitnesses, StationService
from signerd.adapters.run_entries import RunEntries
from signerd.adapters.scheduling import let_network_give_way
from signerd.adapters.session_keys import SessionKeys, of_this_process, outlive_restarts
from signerd.adapters.shared_primes import SearchState, SharedPrimesSearch
from signerd.adapters.start_faults import from_system
from signerd.adapters.store import SqlStore, known_log_keys
from signerd.adapters.tiles import open_bucket
from signerd.adapters.witnesses import WitnessState, open_witnesses
from signerd.config import Config, LimitsSettings, database_url, tiles_folder
from signerd.core import key_policy
from signerd.core.approval.administrators import AdministratorSet
from signerd.core.clock import judge
from signerd.core.ends import End
from signerd.core.names import PeerName, Role
from signerd.core.session import SessionSealer
from signerd.errors import Fault
from signerd.issuance import Issuance
from signerd.issuers import Issuers
from signerd.seen_checkpoints import SeenCheckpoints
from signerd.stamping import Stamping

STOP_GRACE_S = 10.0  # calls under way may take this long; their work goes on for as long again
ADMIN_CALLS = 64

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Again:
    """What SIGHUP needs: the settings' file, and the log's level."""

    read: Callable[[], Config]
    level: LogLevel


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the servers are made of."""

    config: Config
    base: Path
    pool: KeyHolderPool
    store: SqlStore
    refusals: LedgerRefusals
    issuers: Issuers
    issuer_key_holders: IssuerKeyHolders
    checkpoint_key_holders: CheckpointKeyHolders
    metrics: Metrics
    search: SharedPrimesSearch
    check: DatabaseCheck
    clock: ClockGuard
    sealer: SessionSealer
    session_keys: SessionKeys
    key_checks: KeyChecks
    cas: TrustedCas
    identities: PeerIdentities
    moved: MovedPeers
    told: ToldServices
    run: RunEntries
    witnesses: Sequence[WitnessState]  # as they stand


def run(read: Callable[[], Config], base: Path, announce: Callable[[str], None]) -> None:
    """Runs signerd until SIGTERM or SIGINT.

    Args:
        read: gives the configuration, now and after each SIGHUP.
        base: its directory.
        announce: is given one line once signerd serves.

    Raises:
        ConfigError: something is wrong that will still be wrong at the next start.
        WrongPin: the token rejected the PIN, now or when a key holder was replaced.
        Fault: the token or the store does not start, or cannot go on.
    """
    config = read()
    with closing(LineWriter(standard_error())) as lines:
        level = configure_logs(config.log.level, lines)
        _run(config, base, announce, _Again(read, level))


def _run(config: Config, base: Path, announce: Callable[[str], None], again: _Again) -> None:
    for check in start_checks(config, base, _probably_now(config)):
        _log.info("checked", check=check.name, found=check.run())
    pin = pin_of(config.hsm, base)
    try:
        asyncio.run(_serve(config, base, pin, announce, again))
    finally:
        pin[:] = bytes(len(pin))


def _checked_again(config: Config, base: Path) -> Config:
    """The settings, if a start with them would not fail. Raises ConfigError."""
    for check in start_checks(config, base, _probably_now(config)):
        check.run()
    return config


def _reference_file(config: Config) -> ReferenceFile:
    head = config.ledger.head
    return ReferenceFile(head.with_name(head.name + ".clock"), this_boot())


def _probably_now(config: Config) -> datetime:
    """The time for the checks of the start: a clock that jumped since signerd ran last may not keep it from
    coming up, saying so, and serving when the clock is right."""
    return judge(read_clocks(), reference_s=_reference_file(config).load(), newest=None).expected


async def _serve(
    config: Config, base: Path, pin: bytearray, announce: Callable[[str], None], again: _Again
) -> None:
    stop = asyncio.Event()
    reload = Reload(lambda: _checked_again(again.read(), base), config)
    for number, act in (
        (signal.SIGTERM, stop.set),
        (signal.SIGINT, stop.set),
        (signal.SIGHUP, reload.hangup),
    ):
        asyncio.get_running_loop().add_signal_handler(number, act)
    # More signals than asyncio's pipe holds count as those that it holds. By default each of the others is
    # reported by a pending call: the handler then waits for a lock that may be held by what it interrupted.
    signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)
    async with AsyncExitStack() as running:
        parts = await _start_parts(config, base, pin, running)
        where = await _start_servers(parts, running, reload, again.level)
        gc.collect()
        gc.freeze()  # what start-up made lives as long as the process: no collection needs to walk it
        announce(where)
        systemd.notify(systemd.READY)
        await _until_stopped(stop, parts)
        parts.run.asked_to_stop()
        _log.info("stopping")
        systemd.notify(systemd.STOPPING)


async def _until_stopped(stop: asyncio.Event, parts: _Parts) -> None:
    """Returns when told to stop; raises what signerd cannot mend while it runs: a wrong PIN, damaged
    signatures, a ledger that cannot go on. The service manager starts it again where that may help."""
    stopped = asyncio.create_task(stop.wait())
    faults: list[asyncio.Task[Fault]] = [
        asyncio.create_task(parts.issuer_key_holders.wait_given_up()),
        asyncio.create_task(parts.checkpoint_key_holders.wait_given_up()),
        asyncio.create_task(parts.store.wait_stopped()),
    ]
    done, pending = await asyncio.wait((stopped, *faults), return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for fault in faults:
        if fault in done:
            raise fault.result()


async def _start_parts(config: Config, base: Path, pin: bytearray, running: AsyncExitStack) -> _Parts:
    metrics = Metrics()
    served_before = False

    def key_holder_changed() -> None:
        nonlocal served_before
        _log.info("key_holder", serving=pool.serving)
        if pool.serving and served_before:
            metrics.key_holder_replaced()
        served_before = served_before or pool.serving

    # On the event loop, the first key of its kind would hold up every caller; beside the start of the key
    # holders, which takes longer, it holds up nobody. It must succeed: without it no key can be judged.
    prepared = asyncio.create_task(asyncio.to_thread(key_policy.prepare), name="tables for keys")
    pool = KeyHolderPool(settings_for(config), config.hsm.key_holders, on_change=key_holder_changed)
    running.push_async_callback(pool.stop)
    await pool.start(pin)
    wanted, first = read_administrators(config), vkey_in(config.ledger.vkey)
    log_keys = await asyncio.to_thread(known_log_keys, database_url(config, base), first)
    checkpoint_key_holders = CheckpointKeyHolders(config, pool)
    running.push_async_callback(checkpoint_key_holders.stop)
    await checkpoint_key_holders.start(base, log_keys, key_holder_changed)
    signs = checkpoint_key_holders.signs
    witnesses = open_witnesses(config)
    commit_keys = CommitKeys(pool.commit_key, *checkpoint_key_holders.commit_keys)
    store = await SqlStore.open(
        database_url(config, base),
        head_file=config.ledger.head,
        tiles=tiles_folder(config, base),
        origin=config.ledger.origin,
        vkey=first.text(),
        sign_checkpoint=signs.get(first),
        commit_keys=commit_keys,
        further_signs=signs,
        checkpoint_due=pool.checkpoint_due,
        checkpoint_awaited=pool.checkpoint_awaited,
        now=None,
        administrators=wanted,
        witnesses=witnesses,
        bucket=open_bucket(config.publication.bucket, base) if config.publication.bucket else None,
    )
    running.push_async_callback(store.close)
    clock = ClockGuard(lambda: store.newest, file=_reference_file(config))
    run = RunEntries(store, clock)
    running.push_async_callback(run.stop)
    await _watch_clock(clock, store, run, wanted, running)
    refusals = LedgerRefusals(store, refusals_per_h=config.limits.refusals_per_h, clock=clock)
    refusals.start()
    running.push_async_callback(refusals.close)
    key_checks = KeyChecks(time.monotonic)
    key_checks.start()
    running.push_async_callback(key_checks.stop)
    search = _search(store, metrics, clock)
    running.push_async_callback(search.stop)
    check = database_check(
        database_url(config, base), config.ledger.head, first.text(), store, metrics, clock.estimate
    )
    running.push_async_callback(check.stop)
    sealer = SessionSealer()
    session_keys = await _session_keys(config, sealer, pool, store, clock, running)
    holders = IssuerKeyHolders(config, pool)
    running.push_async_callback(holders.stop)
    issuers = Issuers(store, holders.parts)
    await issuers.refresh()
    known = {record.certificate_sha256: record for record in issuers.records}
    await holders.start(base, known, key_holder_changed)
    told = ToldServices(holders.pools)
    await told.all_over(store)
    await prepared
    cas = TrustedCas(ServerCertificate.read(config.server).client_ca)
    return _Parts(
        config,
        base,
        pool,
        store,
        refusals,
        issuers,
        holders,
        checkpoint_key_holders,
        metrics,
        search,
        check,
        clock,
        sealer,
        session_keys,
        key_checks,
        cas,
        PeerIdentities(config.deployment, cas),
        MovedPeers(store.note_cas),
        told,
        run,
        () if witnesses is None else witnesses.states,
    )


async def _session_keys(
    config: Config,
    sealer: SessionSealer,
    pool: KeyHolderPool,
    store: SqlStore,
    clock: ClockGuard,
    running: AsyncExitStack,
) -> SessionKeys:
    derive = pool.session_key if outlive_restarts(config.hsm) else of_this_process()
    keys = SessionKeys(sealer, derive, era=await store.clock_era(), wall=clock.estimate)
    await keys.begin()
    watching = asyncio.create_task(keys.watch(), name="keys of sessions")
    running.callback(watching.cancel)
    return keys


async def _watch_clock(
    clock: ClockGuard,
    store: SqlStore,
    run: RunEntries,
    wanted: AdministratorSet | None,
    running: AsyncExitStack,
) -> None:
    """Enters the start, the open intents, and administrators that the settings ask (`wanted`), as soon as the
    time is certain, at once where it is; then looks on."""
    entered: asyncio.Task[None] | None = None

    async def enter() -> None:
        nonlocal entered
        try:
            await run.start()
            await store.enter_open_intents(clock())
            asked = await store.ask_administrators(clock())
        except Fault as error:
            _log.error("start_not_entered", detail=error.detail)
            entered = None  # with the next look
            return
        if asked.asked and (wanted is None or not wanted.same_as(asked)):
            _log.warning(
                "administrators_differ", in_force="those of the ledger", remedy="signerd check-config"
            )

    def right() -> None:
        nonlocal entered
        if entered is None:
            entered = asyncio.create_task(enter(), name="open intents")

    if clock.right:
        right()
        assert entered is not None  # noqa: S101 -- set above
        await entered
    watching = asyncio.create_task(clock.watch(right), name="clock")

    async def stop() -> None:
        watching.cancel()
        clock.keep()  # a step before the next start is noticed against this
        await asyncio.wait([task for task in (watching, entered) if task is not None])

    running.push_async_callback(stop)


def _search(store: SqlStore, metrics: Metrics, clock: ClockGuard) -> SharedPrimesSearch:
    def ended(state: SearchState) -> None:
        if state.failure or state.last is None:
            metrics.shared_primes_failed()
            return
        metrics.shared_primes(
            valid=len(state.last.valid),
            revoked=len(state.last.revoked),
            finished_at=state.last.finished_at,
        )

    return SharedPrimesSearch(store, clock=clock, on_end=ended)


def database_check(
    url: str, head_file: Path, vkey: str, store: SqlStore, metrics: Metrics, clock: Callable[[], datetime]
) -> DatabaseCheck:
    """The comparison in the background, with what its findings lead to."""

    def ended(compared: Compared | None) -> None:
        if compared is not None:  # after one that failed, the one before it stands
            metrics.database_compared(findings=compared.total, ended_at=compared.ended_at)
            store.absence = compared.refusal

    return DatabaseCheck(url, head_file, vkey, clock=clock, on_end=ended)


async def _start_servers(parts: _Parts, running: AsyncExitStack, reload: Reload, level: LogLevel) -> str:
    """Starts to listen; returns the line that says where."""
    config, store = parts.config, parts.store
    unrecorded = UnrecordedCalls(_log)
    running.callback(unrecorded.close)
    account = accountant(parts.metrics, _log, unrecorded, RateLimiter(time.monotonic))
    issuance, rates = _issuance(parts), _rates(config.limits)
    admission = _peer_admission(parts, rates)
    ends = Ends(config, store, admission.shown, parts.issuers, parts.clock.estimate)
    peers = Gate(
        admission,
        account=account,
        refusals=parts.refusals,
        concurrent_calls=config.limits.concurrent_calls,
    )
    renewals = Gate(
        IdentifiedAdmission(admission, parts.identities),
        account=account,
        refusals=parts.refusals,
        concurrent_calls=RENEWALS,
    )
    administrators = Gate(
        AdministratorAdmission(), account=account, refusals=None, concurrent_calls=ADMIN_CALLS
    )
    listener = PeerListener(
        _for_peers(parts, issuance, peers, renewals),
        listen=config.server.listen,
        streams_per_connection=config.limits.streams_per_connection,
        connections=connections_within_limit(config.limits.connections, config.hsm.key_holders),
        drain_s=STOP_GRACE_S,
    )
    certificate = ServerCertificate.read(config.server)
    port = listener.bind(certificate.credentials())
    admin = _admin(parts, reload, ends.read)
    admins_server = admin_server(admin.handler(administrators), path=config.admin.socket)

    async def stop_serving() -> None:
        await asyncio.gather(listener.stop(), admins_server.stop(STOP_GRACE_S))
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                await asyncio.gather(peers.drained(), renewals.drained(), administrators.drained())
        except TimeoutError:
            _log.warning("stopped_with_calls_under_way")  # their intents are durable, and are resumed

    running.push_async_callback(stop_serving)
    await admins_server.start()
    await listener.start()
    let_network_give_way()

    async def identity(new: Config) -> None:
        nonlocal certificate
        read = ServerCertificate.read(new.server)
        if read != certificate:
            await listener.replace(read.credentials())
            certificate = read
            parts.cas.replace(read.client_ca)
            parts.identities.forget()

    def limits(new: Config) -> None:
        rates.update(_rates(new.limits))
        parts.refusals.limit(new.limits.refusals_per_h)
        peers.limit(new.limits.concurrent_calls)
        issuance.session_lifetime = timedelta(seconds=new.limits.session_lifetime_s)

    looked_at = _watch_ends(ends, parts, running)
    reload.begin(identity, limits, lambda new: level.set(new.log.level), looked_at)
    _start_metrics(parts, running)
    _start_hygiene(parts)
    host = config.server.listen.rpartition(":")[0]
    if config.server.port_file is not None:
        _write_port_file(config.server.port_file, port)
    _log.info("serving", host=host, port=port, pid=os.getpid())
    if not parts.clock.right:
        return f"signerd does not serve yet: {parts.clock.look()}\nit goes on when the clock is right"
    return f"signerd serves stations on {host}:{port} and administrators on {config.admin.socket}"


def _start_hygiene(parts: _Parts) -> None:
    hygiene = parts.config.hygiene
    if hygiene.shared_primes_every_h:
        parts.search.repeat(timedelta(hours=hygiene.shared_primes_every_h))
    if hygiene.database_every_h:
        parts.check.repeat(timedelta(hours=hygiene.database_every_h))


def _for_peers(
    parts: _Parts, issuance: Issuance, peers: Gate[PeerName], renewals: Gate[Caller]
) -> tuple[grpc.GenericRpcHandler[Any, Any], ...]:
    """What the network is served; the last one refuses all else."""
    store, pool, clock = parts.store, parts.pool, parts.clock
    demanded = DemandedWitnesses(
        tuple(witness.vkey for witness in parts.config.witnesses),
        parts.config.publication.witnesses_required,
    )
    seen = SeenCheckpoints(store, [vkey_in(settings.vkey) for settings in parts.config.checkpoint_keys])
    return (
        SigningService(issuance, Stamping(store=store, clock=clock), parts.sealer, seen).handler(peers),
        StationService(issuance, parts.issuers, demanded, seen).handler(peers),
        RenewalService(store=store, cas=parts.cas, load_ca=lambda: load_ca(parts.base), clock=clock).handler(
            renewals
        ),
        AuditService(store, lambda issuer: parts.issuers.of(issuer).issuer.chain).handler(peers),
        health_handler(
            lambda: (
                pool.serving
                and parts.issuers.serving
                and store.fault is None
                and store.absence is None
                and clock.right
                and parts.session_keys.at_hand
            ),
            lambda: store.unreadable is None,
            peers,
        ),
        peers.refuse_all(foreign_method_name),
    )


def _watch_ends(ends: Ends, parts: _Parts, running: AsyncExitStack) -> Callable[[Config], None]:
    """Begins to watch; returns what takes new settings."""
    watch = EndsWatch(ends.read, clock=parts.clock.estimate, seconds=time.monotonic, show=parts.metrics.ends)
    watching = asyncio.create_task(watch.watch(), name="ends")
    keeping = asyncio.create_task(parts.moved.watch(), name="moved peers")

    async def stop() -> None:
        watching.cancel()
        keeping.cancel()
        await asyncio.wait((watching, keeping))

    running.push_async_callback(stop)

    def take(new: Config) -> None:
        ends.config = new
        watch.changed()

    return take


def _peer_admission(parts: _Parts, rates: dict[Role, Rate]) -> PeerAdmission:
    return PeerAdmission(
        identities=parts.identities,
        limiter=RateLimiter(time.monotonic),
        strangers=RateLimiter(time.monotonic),
        rates=rates,
        registry=parts.store,
        clock=parts.clock.estimate,
        saw_ca=parts.moved.saw,
    )


def _rates(limits: LimitsSettings) -> dict[Role, Rate]:
    return {
        Role.STATION: Rate(limits.station_calls_per_s, limits.station_burst),
        Role.AUDITOR: Rate(limits.auditor_calls_per_s, limits.auditor_burst),
    }


def _issuance(parts: _Parts) -> Issuance:
    return Issuance(
        store=parts.store,
        key_holder=parts.pool,
        key_quality=parts.key_checks,
        issuers=parts.issuers,
        sealer=parts.sealer,
        session_lifetime=timedelta(seconds=parts.config.limits.session_lifetime_s),
        clock=parts.clock,
    )


def _admin(parts: _Parts, reload: Reload, read_ends: Callable[[], Awaitable[Sequence[End]]]) -> AdminService:
    config = parts.config
    linter = SampleLinter(
        lambda ca: parts.issuers.active(ca).issuer,
        max_validity=timedelta(days=config.authority.max_validity_days),
        allow_no_expiry=config.authority.allow_no_expiry,
        clock=parts.clock,
    )
    return AdminService(
        deployment=config.deployment,
        store=parts.store,
        issuers=parts.issuers,
        signs_checkpoints=parts.checkpoint_key_holders.serves,
        linter=linter,
        search=parts.search,
        clock=parts.clock,
        on_clock_accepted=parts.session_keys.begin_era,
        reload=reload.now,
        read_ends=read_ends,
        hsm=config.hsm,
        cas=parts.cas,
        peers_seen=parts.moved.keep,
        told=parts.told,
        witnesses=parts.witnesses,
    )


def _start_metrics(parts: _Parts, running: AsyncExitStack) -> None:
    if parts.config.metrics is None:
        return
    store, pool, metrics, clock = parts.store, parts.pool, parts.metrics, parts.clock
    metrics.watch(
        Gauges(
            lambda: store.published_size,
            lambda: store.tiles_size,
            lambda: pool.serving and parts.issuers.serving and clock.right,
            lambda: len(pool.pids),
            lambda: clock.right,
            lambda: parts.witnesses,
            lambda: store.bucket_size,
        )
    )
    running.callback(metrics.serve(parts.config.metrics.listen))

    async def count() -> BoardCounts:
        counts = [state.counts for state in await store.list_orders()]
        return BoardCounts(
            issued=sum(each.issued for each in counts),
            stamped=sum(each.stamped for each in counts),
            revoked=sum(each.revoked for each in counts),
            open_intents=sum(each.open_intents for each in counts),
        )

    counting = asyncio.create_task(metrics.keep_counts(count), name="metrics counts")

    async def stop_counting() -> None:
        counting.cancel()
        await asyncio.wait((counting,))

    running.push_async_callback(stop_counting)


def _write_port_file(path: Path, port: int) -> None:
    """Whole or not at all: whoever waits for the file reads a port."""
    try:
        durable_files.replace(path, f"{port}\n".encode("ascii"), 0o644)
    except OSError as error:
        raise from_system(f"server.port_file: cannot write {path}: {error.strerror}", error) from error
