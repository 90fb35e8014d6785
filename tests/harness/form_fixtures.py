"""Makes what is signed or kept, in the forms of today: the files of `tests/vectors/forms`.

    PYTHONPATH=proto:tests:. python -m harness.form_fixtures DIRECTORY

A later version of a form is made by running this again into an empty directory, and taking over the files of
the new version alone: those of older ones are what older programs made, and are never made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import secrets
import sqlite3
import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from agent.adapters.journal import schema as journal_schema
from agent.adapters.journal.schema import FILE_NAME as JOURNAL
from agent.adapters.journal.store import SqliteJournal
from agent.core.result_row import CSV_HEADER, ResultRow, csv_line, json_line
from agent.ports import BoardStamp, QueuedStamp, Receipt
from auditor.adapters.state import FILE as STATE
from boards.attesters.nrf91 import Nrf91Vendor
from harness.approvals import Administrators
from harness.audit_bench import bench, small
from harness.bundle_samples import sample
from harness.installation import order_toml
from harness.issuance_world import PRODUCT, IssuanceWorld, issuance_world
from harness.paper_board import PaperBoard
from harness.session_keys import EveryDay
from harness.software_key_holder import ORIGIN as LOG
from harness.store_world import SoftwareLogKey
from signerd.adapters.clock import ReferenceFile
from signerd.adapters.operations_ca import create_ca, digest
from signerd.adapters.store import Announcement, SqlStore, Step
from signerd.adapters.store.boards.open_intents import enter_open_intents
from signerd.adapters.store.registry.approving import administrators_entry
from signerd.core.approval.sshsig import read_signature
from signerd.core.approval.statement import REQUEST_BYTES, Statement
from signerd.core.checkpoint_keys import Reason
from signerd.core.chip_key import BurnedKey, derive_chip_key
from signerd.core.crl import build_crl
from signerd.core.entry import (
    ID_BYTES,
    ActionApproved,
    AdministratorsSet,
    CheckpointKeyAdded,
    KeysCommitted,
    LogSucceeded,
    RefusedCall,
    encode,
)
from signerd.core.evidence.claims import parse_claims
from signerd.core.evidence.transcript import transcript
from signerd.core.evidence_extension import EvidenceStatement
from signerd.core.identity_list import check_identity, parse_line
from signerd.core.leaf import Leaf
from signerd.core.names import Level, parse_peer_uri
from signerd.core.note import VerifierKey
from signerd.core.order import Share
from signerd.core.recipient import Recipient
from signerd.core.sealing import KeyRole, commitment, seal
from signerd.core.session import Session, SessionSealer
from signerd.core.succession import Predecessor, origin_of, statement
from signerd.errors import Unavailable

AUDITOR = parse_peer_uri("birthmark://test/auditor/second")
CLOCK_BOOT = "a boot"
RUN = bytes(range(16))
SESSION_KEY = MASTER_KEY = bytes(32)
TOKEN_KEY = ec.derive_private_key(1, ec.SECP256R1())  # of no token, and no secret


def main(target: Path) -> None:
    """Fills an empty directory."""
    target.mkdir()

    def keep(name: str, data: bytes | str) -> None:
        (target / name).write_bytes(data.encode() if isinstance(data, str) else data)

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_signerd(Path(directory), keep))
        asyncio.run(_journal(Path(directory) / JOURNAL, keep))
        with bench(small(), Path(directory) / "auditor") as audit:
            audit.verify()
        state = dump(Path(directory) / "auditor" / STATE)
        keep(f"auditor-state-{_version(state)}.sql", state)
        ReferenceFile(Path(directory) / "clock", CLOCK_BOOT).save(12.5)
        keep("clock-1.json", (Path(directory) / "clock").read_bytes())
    made = sample()
    keep("bundle-1.zip", made.signed())
    keep("bundle-1.key", made.key.public_key().public_bytes_raw())
    row = ResultRow(
        1, "2026-11-15T12:00:00.000+00:00", "2026-11-15T12:01:00.000+00:00", "usb-1-1", "WO-1",
        "chip:1", "BM-000001",
        "ab" * 32, "PASS", "record", "", "", "", 60.0, {"keygen": 7.5},
    )  # fmt: skip
    keep("results-1.jsonl", json_line(row))
    keep("results-1.csv", CSV_HEADER + csv_line(row))
    keep("order-1.toml", order_toml("WO-1", quantity=1, stations=["birthmark://test/station/plant1/pc1"]))
    keys = {kind.value: derive_chip_key(_mac, "chip:1", *kind.mac_key).hex() for kind in BurnedKey}
    keep("chip-keys-1.json", json.dumps(keys) + "\n")
    recipient = Recipient.of(TOKEN_KEY.public_key())
    keep("sealed-1.json", seal("example/log", {KeyRole.CHIP_MASTER: MASTER_KEY}, [recipient]).encode())


def dump(path: Path) -> str:
    """A database as SQL, with its version, which `iterdump` leaves out."""
    connection = sqlite3.connect(path)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return "\n".join([*connection.iterdump(), f"PRAGMA user_version = {version};", ""])
    finally:
        connection.close()


def _mac(data: bytes) -> bytes:
    return hmac.digest(MASTER_KEY, data, "sha256")


def _version(sql: str) -> str:
    return sql.rpartition("PRAGMA user_version = ")[2].rstrip(";\n")


async def _signerd(directory: Path, keep: Callable[[str, bytes | str], None]) -> None:
    async with issuance_world(directory) as world:
        store, now = world.store, world.now
        end = now + timedelta(days=825)
        shown: Any = {"not_after": end, "ca_sha256": hashlib.sha256(b"ca").digest()}
        await store.add_peer(AUDITOR, hashlib.sha256(b"second").digest(), now, by="ann", **shown)
        await store.renew_peer(AUDITOR, hashlib.sha256(b"third").digest(), now, not_after=end, by="ann")
        await store.choose_renewal(AUDITOR.uri, now, automatic=True, by="ann")
        await store.revoke_peer(AUDITOR.uri, now, by="ann")
        gone = parse_peer_uri("birthmark://test/station/plant1/gone")
        await store.add_peer(gone, hashlib.sha256(b"gone").digest(), now, by="ann", **shown)
        await store.renew_peer(gone, hashlib.sha256(b"gone").digest(), now, not_after=end, by="ann")
        await store.revoke_peer(gone.uri, now, by="ann")
        for step in Step:
            ca = Announcement(step, hashlib.sha256(b"ca").digest(), end, "ann", force=True)
            await store.announce_operations_ca(ca, now)
        await store.import_identities("sensor", "nrf91", [_identity(keep)], by="ann", now=now)
        order = await world.open_order()
        await store.import_chips(order, ["chip:1"], now, by="ann")
        board = world.board()
        session, answer = await world.certify(order, board)
        stamped = await world.stamp(board, session, answer)
        _, second = await world.certify(order, world.board())
        await store.revoke(
            serial_number=second.record.place.serial_number, reason="keyCompromise", now=now, by="ann"
        )
        await store.close_order(order, now, by="ann")
        await store.record_shared_primes([hashlib.sha256(answer.record.certificate_der).digest()], now)
        await _crl(world, keep)
        await _refused(store, now, order)
        await store.accept_clock(by="ann", before=now, now=now)
        await store.enter_start(RUN, now)
        await store.enter_stop(RUN, now)
        _board(board, session.challenge, answer.record, keep)
        _session(order, keep)
        keep("receipt-1.txt", stamped.receipt)
        keep("receipt-entry-1.json", stamped.entry)
        keep("log-1.vkey", world.key_holder.log.text() + "\n")
        keep("sub-ca-1.der", world.issuer.chain[0])
        await _open_intent(world)
    keep("checkpoint-1.txt", (directory / "head" / "checkpoint").read_bytes())
    first = _entries(directory)
    form = json.loads(first[0])["v"]
    # As `signerd init` writes it, where a key is not in the token.
    committed = KeysCommitted(
        time=datetime(2026, 11, 15, tzinfo=UTC),
        by="ann",
        checkpoint="token",
        chip_master="sealed",
        chip_master_commitment=commitment(KeyRole.CHIP_MASTER, "example/log", MASTER_KEY),
        recipients=(Recipient.of(TOKEN_KEY.public_key()).spki_sha256(),),
    )
    others = [encode(entry, secrets.token_bytes(ID_BYTES)) for entry in (committed, *_approvals())]
    (later := directory / "later").mkdir()
    written = [*first, *await _succession(later), *others]
    keep(f"entries-{form}.jsonl", b"".join(data + b"\n" for data in written))
    keep("product-1.toml", PRODUCT)


def _approvals() -> tuple[AdministratorsSet, ActionApproved]:
    """As signerd writes them, where the settings ask administrators."""
    people, moment = Administrators.of("test", 1, "ann"), datetime(2026, 11, 15, tzinfo=UTC)
    statement = Statement(
        deployment="test",
        log="example/log+00000000+AQ==",
        action="revoked",
        request=bytes(REQUEST_BYTES),
        expires=moment + timedelta(days=7),
        entries=({"chip_id": "chip-1"},),
        inputs=(None,),
    )
    text = statement.text()
    signature = read_signature(people.sign(text, "ann")[0])
    signed = {"administrator": "ann", "sshsig": b64encode(signature.blob).decode(), "counter": None}
    return administrators_entry(people.set, moment, "ann"), ActionApproved(
        time=moment,
        by="ann",
        action=statement.action,
        request=statement.request,
        part=0,
        statement=text.decode("ascii"),
        signatures=(signed,),
    )


def _identity(keep: Callable[[str, bytes | str], None]) -> Any:
    attester = Nrf91Vendor().attester("50363154-3931-44f0-8022-121b6401627d")
    keep("identities-1.jsonl", json.dumps(attester.identity()) + "\n")
    identity = parse_line(json.dumps(attester.identity()).encode())
    check_identity(identity, "nrf91")
    return identity


def _board(board: Any, challenge: bytes, record: Any, keep: Callable[[str, bytes | str], None]) -> None:
    """All that a certificate record holds, and what it is verified with."""
    stamp, signed = board.stamp(
        challenge, record.place.serial_number, record.certificate_der, record.settings
    )
    keep("stamp-1.cbor", stamp)
    keep("stamp-1.sig", signed)
    keep("challenge-1.bin", challenge)
    keep("settings-1.cbor", record.settings)
    keep("claims-1.cbor", record.claims)
    keep("csr-1.der", record.csr_der)
    keep("certificate-1.der", record.certificate_der)
    keep("certificate-extension-1.der", EvidenceStatement.about(Level.KEY, "x509", b"evidence").encode())
    digest = hashlib.sha256(record.csr_der).digest()
    claims = parse_claims(record.claims)
    keep(
        "transcript-1.cbor",
        transcript(challenge=challenge, chip_id=board.chip_id, csr_digest=digest, claims=claims),
    )


def _session(order: str, keep: Callable[[str, bytes | str], None]) -> None:
    """Sealed with a key of 32 zero bytes; the moment is a fixed one."""
    expires = datetime(2026, 11, 15, 12, 10, tzinfo=UTC)
    session = Session("birthmark://test/station/plant1/pc1", order, "chip:1", bytes(32), expires)
    keep("session-1.bin", SessionSealer(EveryDay(SESSION_KEY)).seal(session))


async def _crl(world: IssuanceWorld, keep: Callable[[str, bytes | str], None]) -> None:
    now = world.now.replace(microsecond=0)
    revoked = await world.store.revoked_certificates()
    until = now + timedelta(days=7)
    unsigned = build_crl(revoked, issuer=world.issuer, number=1, this_update=now, next_update=until)
    crl = unsigned.signed(await world.key_holder.sign_crl(unsigned.tbs))
    keep("crl-1.der", crl)
    digest = hashlib.sha256(crl).digest()
    await world.store.record_crl(
        number=1, crl_sha256=digest, next_update=until, count=len(revoked), now=now, by="ann"
    )


async def _refused(store: SqlStore, now: datetime, order: str) -> None:
    common: dict[str, Any] = {"time": now, "peer": "birthmark://test/station/plant1/pc1", "call": "SignCsr"}
    one = RefusedCall(
        **common,
        code="evidence_rejected",
        count=1,
        work_order=order,
        chip_id="chip:1",
        csr_sha256=bytes(32),
        agent="1.2.0",
    )
    folded = RefusedCall(
        **common, code="csr_rejected", count=7, work_order=None, chip_id=None, csr_sha256=None
    )
    await store.append_refusals([one, folded])


def _entries(directory: Path) -> list[bytes]:
    connection = sqlite3.connect(directory / "signerd.sqlite")
    rows = connection.execute("SELECT data FROM entries ORDER BY entry_index").fetchall()
    connection.close()
    return [data for (data,) in rows]


async def _succession(directory: Path) -> list[bytes]:
    """What a log of years has: keys and issuers that follow one another, and a share that is given."""
    successor = SoftwareLogKey(b"successor", origin=LOG)
    async with issuance_world(directory, {successor.verifier: successor.sign_checkpoint}) as world:
        store, now, begun = world.store, world.now, len(_entries(directory))
        first, second = world.key_holder.log, successor.verifier
        added = CheckpointKeyAdded(
            time=now, by="ann", vkey=second.text(), place="sealed",
            recipients=(Recipient.of(TOKEN_KEY.public_key()).spki_sha256(),),
        )  # fmt: skip
        await store.published(await store.add_checkpoint_key(added))
        await store.published(await store.activate_checkpoint_key(second.key_id.hex(), now, by="ann"))
        retired = await store.retire_checkpoint_key(first.key_id.hex(), Reason.SUPERSEDED, now, by="ann")
        await store.published(retired)
        order, board = await _open_intent(world, shares={"main": 6, "spare": 4})
        await store.give_share(Share(order, "spare", "main", 2), now, by="ann")
        await world.add_issuer("spare")
        await world.activate_issuer("spare")
        await world.certify(order, board)
        await store.retire_issuer("main", now, by="ann")
        succeeded = _log_succeeded(second, now)
    return [*_entries(directory)[begun:], succeeded]


def _log_succeeded(key: VerifierKey, now: datetime) -> bytes:
    """Of a log that lost two entries. No checkpoint is over it: only its form counts here."""
    before = Predecessor(1, 5, hashlib.sha256(b"lost").digest(), 3)
    root, ca = hashlib.sha256(b"left").digest(), create_ca("test", now)
    origin = origin_of(LOG, 2)
    entry = LogSucceeded(
        time=now, by="ann", number=2, origin=origin, vkey=key.named(origin).text(), continued=3, root=root,
        predecessors=(before.members(),), ca_sha256=digest(ca.certificate),
        signature=ca.key.sign(statement(LOG, 2, 3, root, [before]), ec.ECDSA(hashes.SHA256())),
    )  # fmt: skip
    return encode(entry, bytes(16))


async def _open_intent(world: IssuanceWorld, **terms: Any) -> tuple[str, PaperBoard]:
    """A crash between intent and certificate; the order, and the board that has none."""
    order, board = await world.open_order(**terms), world.board()

    async def dead(_tbs: bytes, _leaf: Leaf | None = None) -> bytes:
        raise Unavailable("the key holder is dead")

    world.key_holder.sign_certificate = dead  # type: ignore[method-assign,assignment]
    with contextlib.suppress(Unavailable):
        await world.certify(order, board)
    await world.store._writer.do(lambda tx: enter_open_intents(tx, world.now))
    return order, board


async def _journal(path: Path, keep: Callable[[str, bytes | str], None]) -> None:
    journal_schema.create(path)
    async with SqliteJournal(path, station="birthmark://dev/station/plant1/pc1") as journal:
        for number, entry in enumerate((b'{"v":1}', b'{"v":1}'), 1):
            run = await journal.begin(f"usb-1-{number}", "WO-1", f"chip:{number}")
            queued = QueuedStamp(
                "WO-1", f"chip:{number}", f"BM-00000{number}", bytes([number]) * 32, b"session",
                BoardStamp(b"stamp", b"signature"),
            )  # fmt: skip
            await journal.queue_stamp(run, queued)
            if number == 1:
                await journal.stamp_recorded(queued, Receipt(7, entry, b"receipt"))
                await journal.note_label(run, bytes([number]) * 32)
    sql = dump(path)
    keep(f"journal-{_version(sql)}.sql", sql)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
