"""The daemon's key holders: one, or several for an HSM that signs in parallel.

Certificates, CRLs and MACs wait in one queue, in which callers take turns, and go to the least busy.
Checkpoints go to the first alone, so that one memory of the last checkpoint sees them all.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.adapters.caller import CALLER
from signerd.adapters.keyholder.channel import SignatureDamaged
from signerd.adapters.keyholder.client import KeyHolderProcess, KeyHolderSettings
from signerd.adapters.keyholder.hardening import close_memory
from signerd.adapters.keyholder.held_pin import HeldPin, WrongPin
from signerd.adapters.keyholder.protocol import Mode, Setup
from signerd.adapters.keyholder.queue import OperationQueue
from signerd.adapters.keyholder.rejected_pin import RejectedPins
from signerd.adapters.keyholder.sealed_file import read_sealed_file
from signerd.adapters.start_faults import unreadable
from signerd.config import AnyTokenSettings, CheckpointKeySettings, HsmSettings, Keys, TokenSettings
from signerd.core import note
from signerd.core.leaf import Leaf
from signerd.core.names import MacQuestion, Place
from signerd.errors import ConfigError, WrongSettings


def setup_for(hsm: HsmSettings, mode: Mode) -> Setup:
    """The first frame, complete for a mode that needs neither certificate nor log.

    Raises:
        ConfigError: the file of the sealed secrets cannot be read, or is not what it should be.
    """
    return Setup(
        mode=mode.value,
        module=str(hsm.module),
        token=hsm.token,
        ca_key=hsm.ca_key if hsm.ca_key_in == "token" else "",
        checkpoint_key=hsm.checkpoint_key,
        master_key=hsm.master_key,
        sealing_key=hsm.sealing_key,
        checkpoint_key_in=hsm.checkpoint_key_in,
        master_key_in=hsm.master_key_in,
        sealed=b"" if hsm.sealed is None or mode is Mode.GENERATE else read_sealed_file(hsm.sealed).encode(),
        master_commitment=bytes.fromhex(hsm.master_commitment or ""),
        certificate=b"",
        vkey="",
        max_validity_days=1,
        allow_no_expiry=False,
        pin=b"",
    )


def settings_for(config: Keys) -> KeyHolderSettings:
    """Reads the sub-CA's certificate and the log's verifier key.

    Raises:
        ConfigError: one of the files is missing or not what it should be.
    """
    authority, ledger = config.authority, config.ledger
    certificate = _sub_ca(authority.certificate)
    try:
        vkey = ledger.vkey.read_text(encoding="utf-8").strip()
        log = note.parse_vkey(vkey)
    except OSError as error:
        raise unreadable(error.filename, error) from error
    except ValueError as error:
        raise ConfigError(f"{ledger.vkey} is not of its form: {error}") from error
    if log.name != ledger.origin:
        raise ConfigError(f"{ledger.vkey} is the key of {log.name}, but ledger.origin is {ledger.origin}")
    return settings_with(config, certificate, vkey)


def setup_of_issuer(token: TokenSettings, mode: Mode) -> Setup:
    """The first frame for a token with a CA key, and nothing else of ours."""
    return Setup(
        mode=mode.value,
        module=str(token.module),
        token=token.token,
        ca_key=token.ca_key,
        checkpoint_key="",
        master_key="",
        sealing_key="",
        checkpoint_key_in=Place.NONE.value,
        master_key_in=Place.NONE.value,
        sealed=b"",
        master_commitment=b"",
        certificate=b"",
        vkey="",
        max_validity_days=1,
        allow_no_expiry=False,
        pin=b"",
    )


def settings_of_issuer(
    config: Keys, certificate: x509.Certificate, token: TokenSettings
) -> KeyHolderSettings:
    """For a further issuer: a key holder with a CA key, and nothing else."""
    setup = replace(
        setup_of_issuer(token, Mode.SERVE),
        certificate=certificate.public_bytes(Encoding.DER),
        max_validity_days=config.authority.max_validity_days,
        allow_no_expiry=config.authority.allow_no_expiry,
    )
    return _settings(config, setup, token, hashlib.sha256(setup.certificate).digest())


def setup_of_checkpoint_key(settings: CheckpointKeySettings, mode: Mode) -> Setup:
    """The first frame for the token of a further key of the log, and nothing else of ours.

    Raises:
        ConfigError: the file of the sealed seed cannot be read, or is not what it should be.
    """
    sealed = settings.sealed is not None and mode is not Mode.GENERATE
    return Setup(
        mode=mode.value,
        module=str(settings.module),
        token=settings.token,
        ca_key="",
        checkpoint_key=settings.key,
        master_key="",
        sealing_key=settings.sealing_key,
        checkpoint_key_in=settings.key_in,
        master_key_in=Place.NONE.value,
        sealed=read_sealed_file(settings.sealed).encode() if sealed and settings.sealed else b"",
        master_commitment=b"",
        certificate=b"",
        vkey="",
        max_validity_days=1,
        allow_no_expiry=False,
        pin=b"",
    )


def settings_of_checkpoint_key(
    config: Keys, settings: CheckpointKeySettings, log: note.VerifierKey
) -> KeyHolderSettings:
    """A key holder that signs checkpoints, and nothing else. Raises ConfigError."""
    setup = replace(
        setup_of_checkpoint_key(settings, Mode.SERVE),
        # No CA key is in it: the certificate is for the form of its settings alone.
        certificate=_sub_ca(config.authority.certificate).public_bytes(Encoding.DER),
        vkey=log.text(),
    )
    return _settings(config, setup, settings, hashlib.sha256(log.text().encode()).digest())


def _sub_ca(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise ConfigError(f"{path} is not a certificate in PEM: {error}") from error


def settings_with(config: Keys, certificate: x509.Certificate, vkey: str) -> KeyHolderSettings:
    """As `settings_for`, with the sub-CA's certificate and the log's verifier key at hand."""
    setup = replace(
        setup_for(config.hsm, Mode.SERVE),
        certificate=certificate.public_bytes(Encoding.DER),
        vkey=vkey,
        max_validity_days=config.authority.max_validity_days,
        allow_no_expiry=config.authority.allow_no_expiry,
    )
    return _settings(config, setup, config.hsm, hashlib.sha256(setup.certificate).digest())


def _settings(config: Keys, setup: Setup, token: AnyTokenSettings, named: bytes) -> KeyHolderSettings:
    return KeyHolderSettings(
        setup,
        token.deadline_s,
        token.start_deadline_s,
        token.environment,
        rejected_pins(config, token),
        token.service,
        named,
    )


def rejected_pins(config: Keys, token: AnyTokenSettings | None = None) -> RejectedPins:
    """PINs that a token rejected, beside the second place of the checkpoint; by default that of `hsm`."""
    token = token or config.hsm
    return RejectedPins(config.rejected_pins, module=str(token.module), token=token.token)


class KeyHolderPool:
    """`hsm.key_holders` processes behind one `signerd.ports.KeyHolder`."""

    def __init__(self, settings: KeyHolderSettings, count: int, *, on_change: Callable[[], None]) -> None:
        """`on_change` is called whenever `serving` may have changed."""
        self._rejected_pins = settings.rejected_pins
        self.service = settings.service  # its socket; None: processes of our own
        self._first = KeyHolderProcess(settings, on_change=on_change)
        self._all = [self._first, *(KeyHolderProcess(settings) for _ in range(count - 1))]
        self._queue = OperationQueue(self._all)
        self._signing: dict[bytes, asyncio.Task[bytes]] = {}  # by TBSCertificate

    @property
    def serving(self) -> bool:
        """True while certificates and checkpoints can be signed."""
        return self._first.serving

    @property
    def pids(self) -> list[int]:
        """Of the processes that serve now."""
        return [holder.pid for holder in self._all if holder.pid is not None]

    async def start(self, pin: bytes | bytearray) -> None:
        """Starts all, one after the other: a wrong PIN reaches the token once.

        Raises:
            WrongPin: the token rejected the PIN.
            ConfigError: the token does not hold what the settings name.
            Unavailable: a process does not start.
        """
        close_memory()  # from here on this process holds the PIN
        held = HeldPin(pin, self._rejected_pins)
        try:
            for holder in self._all:
                await holder.start(held)
        except BaseException as error:
            await self.stop()
            held.wipe()
            if isinstance(error, WrongSettings):
                raise ConfigError(error.detail) from error
            raise

    async def stop(self) -> None:
        """Ends all of them."""
        await asyncio.gather(*(holder.stop() for holder in self._all))

    async def wait_given_up(self) -> WrongPin | SignatureDamaged:
        """Returns once one of them tries nothing again: signerd must then end, with its exit code."""
        waits = [asyncio.create_task(holder.wait_given_up()) for holder in self._all]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for wait in waits:
                wait.cancel()

    def demand_room(self) -> None:
        """Raises Busy if what the caller of this task asks now would wait for too long."""
        self._queue.demand_room(CALLER.get())

    def checkpoint_awaited(self) -> None:
        """The caller of this task goes on when the next checkpoint is published."""
        self._queue.checkpoint_awaited()

    async def checkpoint_due(self) -> None:
        """Returns when it is a checkpoint's turn: what is entered until then shares its signature."""
        await self._queue.checkpoint_due()

    async def show_approval(self, statement: bytes, signatures: Sequence[bytes]) -> None:
        """Tells a service what administrators approved. Raises as `KeyHolderProcess.show_approval`."""
        await self._first.show_approval(statement, signatures)

    async def close_order(self, work_order: str) -> None:
        """Tells a service that nothing more is to be signed for an order. Raises Unavailable."""
        await self._first.close_order(work_order)

    async def sign_certificate(self, tbs: bytes, leaf: Leaf | None = None) -> bytes:
        """See `signerd.ports.KeyHolder`. A caller that asks again while its certificate is being signed
        waits for that signature: the token makes one."""
        self._queue.signing()
        signing = self._signing.get(tbs)
        if signing is None:
            ask = self._queue.certify(CALLER.get(), lambda holder: holder.sign_certificate(tbs, leaf))
            signing = self._signing[tbs] = asyncio.create_task(ask, name="certificate")
            signing.add_done_callback(lambda done: self._signed(tbs, done))
        signature = await asyncio.shield(signing)
        self._queue.certified()
        return signature

    def _signed(self, tbs: bytes, done: asyncio.Task[bytes]) -> None:
        del self._signing[tbs]
        if not done.cancelled():
            done.exception()  # retrieved here for the case that nobody waits any more

    async def sign_crl(self, tbs: bytes) -> bytes:
        """See `signerd.ports.KeyHolder`."""
        return await self._queue.sign(CALLER.get(), lambda holder: holder.sign_crl(tbs))

    async def sign_checkpoint(self, body: bytes) -> bytes:
        """See `signerd.ports.KeyHolder`."""
        return await self._queue.sign_checkpoint(self._first, lambda holder: holder.sign_checkpoint(body))

    async def session_key(self, day: int, era: int) -> bytes:
        """The key of sessions that end on this day (`core/internal_key.py`)."""
        return await self._first.session_key(day, era)

    async def commit_key(self, start: bytes) -> bytes | None:
        """The key of the commits of the start of this name (`core/commits.py`); None: it has none."""
        return await self._first.commit_key(start)

    async def check_chip_mac(self, question: MacQuestion) -> bool:
        """See `signerd.ports.KeyHolder`."""
        return await self._queue.check(CALLER.get(), lambda holder: holder.check_chip_mac(question))
