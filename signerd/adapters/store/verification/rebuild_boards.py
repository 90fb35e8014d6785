"""Records, chips, places and anchors, made from the log, for `signerd database rebuild`.

A chip is found by its board's serial number, which it keeps for ever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, false, insert, select, true, update

from signerd.adapters.store.boards.certified_chips import LABELLING_METHOD, NAME
from signerd.adapters.store.tables.prepared import Prepared
from signerd.adapters.store.tables.rows import seconds
from signerd.adapters.store.tables.schema import anchors, certified_chips, places, records
from signerd.adapters.store.verification.rebuild_parts import Parts
from signerd.core.anchors import AnchorKind
from signerd.core.entry import Issued, Revoked, SharedPrimesFound, Stamped
from signerd.core.issuers import IssuerRecord
from signerd.core.state.kinds import mentioned
from signerd.errors import ConfigError

# Of a row of before: bytes whose digests fit the entry, and what no entry says.
_OWN = ("id", "moment", "issuer", "settings", "csr_der", "evidence", "claims", "certificate_der", "attester")
Missing = Callable[[str], None]

KINDS = frozenset(kind.type.encode() for kind in (Issued, Stamped, Revoked, SharedPrimesFound))
_a, _c, _p, _r = anchors.c, certified_chips.c, places.c, records.c
_CHIP = Prepared(select(_c.id).where(_c.serial_number == bindparam("serial")))
_ADD_CHIP = Prepared(insert(certified_chips).returning(_c.id), ("chip_id", "serial_number"))
_PLACE = Prepared(
    select(_p.chip).where(_p.work_order == bindparam("work_order"), _p.number == bindparam("number"))
)
_ADD_PLACE = Prepared(insert(places), ("work_order", "number", "chip"))
_ANCHOR = Prepared(
    select(_a.chip).where(
        and_(_a.kind == bindparam("kind"), _a.issuer == bindparam("issuer"), _a.value == bindparam("value"))
    )
)
_ADD_ANCHOR = Prepared(insert(anchors), ("kind", "issuer", "value", "chip"))
_LAST = Prepared(select(_r.id).where(_r.chip == bindparam("chip"), _r.superseded == false()))
_SUPERSEDE = Prepared(update(records).where(_r.id == bindparam("record")).values(superseded=true()))
_BY_DIGEST = Prepared(
    select(_r.id, _r.revoked_index).where(_r.certificate_sha256 == bindparam("certificate"))
)
_STAMP = Prepared(
    update(records)
    .where(_r.id == bindparam("record"))
    .values(
        state="stamped",
        stamp=bindparam("value"),
        stamp_signature=bindparam("signature"),
        stamped_at=bindparam("at"),
        stamped_index=bindparam("index"),
    )
)
_REVOKE = Prepared(
    update(records)
    .where(_r.id == bindparam("record"))
    .values(
        state="revoked",
        revoked_at=bindparam("at"),
        revoked_index=bindparam("index"),
        revoked_reason=bindparam("reason"),
    )
)
_NAME_PRIME = Prepared(
    update(records).where(_r.id == bindparam("record")).values(shared_prime_index=bindparam("index"))
)


class Boards:
    """Writes them entry by entry, in the order of the log, in the caller's transactions."""

    def __init__(self, parts: Parts, missing: Missing, issuers: Sequence[IssuerRecord]) -> None:
        self._parts = parts
        self._missing = missing
        self._issuers = {each.name: each.issuer_id for each in issuers}

    def add(self, connection: Connection, index: int, data: bytes) -> None:
        """The rows that follow from one entry. Raises ConfigError: two boards are one chip's."""
        if KINDS.isdisjoint(mentioned(data)):
            return
        said = json.loads(data)
        match said["type"]:
            case Issued.type:
                self._issued(connection, index, said)
            case Stamped.type:
                self._stamped(connection, index, said)
            case Revoked.type:
                if (record := self._record(connection, said["certificate_sha256"])) is not None:
                    at = {"record": record, "at": _time(said), "index": index, "reason": said["reason"]}
                    _REVOKE.run(connection, at)
            case SharedPrimesFound.type:
                for digest in said["certificates"]:
                    if (record := self._record(connection, digest)) is not None:
                        _NAME_PRIME.run(connection, {"record": record, "index": index})

    def _record(self, connection: Connection, certificate_sha256: str) -> int | None:
        """None: its parts are missing, which was told."""
        row = _BY_DIGEST.row(connection, {"certificate": bytes.fromhex(certificate_sha256)})
        return None if row is None else row.id

    def _issued(self, connection: Connection, index: int, said: Mapping[str, Any]) -> None:
        row = self._parts.board(said)
        if row is None:
            self._missing(
                f"certificate, CSR, evidence or settings of board {said['serial_number']} (entry {index})"
            )
            return
        chip = self._chip(connection, said)
        self._anchors(connection, chip, row, said, index)
        place = {"work_order": said["work_order"], "number": said["number"]}
        if _PLACE.row(connection, place) is None:
            _ADD_PLACE.run(connection, place | {"chip": chip})
        last = _LAST.row(connection, {"chip": chip})
        if last is not None:
            _SUPERSEDE.run(connection, {"record": last.id})
        values = _values(row, said, index) | {"chip": chip}
        if "issuer" in said:
            values["issuer"] = self._issuers[said["issuer"]]
        values["supersedes_id"] = None if last is None else last.id
        connection.execute(insert(records), values)

    def _chip(self, connection: Connection, said: Mapping[str, Any]) -> int:
        found = _CHIP.row(connection, {"serial": said["serial_number"]})
        if found is not None:
            return int(found.id)
        row = {"chip_id": said["chip_id"], "serial_number": said["serial_number"]}
        return int(_ADD_CHIP.row(connection, row).id)

    def _anchors(
        self, connection: Connection, chip: int, row: Mapping[str, Any], said: Mapping[str, Any], index: int
    ) -> None:
        for kind, issuer, value in _shown(row, said):
            asked = {"kind": kind, "issuer": issuer, "value": value}
            known = _ANCHOR.row(connection, asked)
            if known is None:
                _ADD_ANCHOR.run(connection, asked | {"chip": chip})
            elif known.chip != chip:
                raise ConfigError(
                    f"ledger entry {index}: board {said['serial_number']} and another one are of one chip"
                    f" ({kind} {value}), as an upgrade from schema 0003 found: such a log cannot be rebuilt."
                    " Restore a backup"
                )

    def _stamped(self, connection: Connection, index: int, said: Mapping[str, Any]) -> None:
        record = self._record(connection, said["certificate_sha256"])
        stamp = self._parts.stamp(said["certificate_sha256"], said["stamp_sha256"])
        if stamp is None:
            self._missing(f"the stamp of board {said['serial_number']} (entry {index})")
        elif record is not None:
            values = {"value": stamp["stamp"], "signature": stamp["stamp_signature"]}
            _STAMP.run(connection, {"record": record, "at": _time(said), "index": index} | values)


def _shown(row: Mapping[str, Any], said: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What is this chip's for ever. Entries of form 1 do not say it: then the row's, as the upgrade found."""
    found = said["anchors"] if "anchors" in said else json.loads(row["anchors"])
    shown = {(kind, issuer or "", value) for kind, issuer, value in found}
    if isinstance(row["attester"], bytes):
        shown.add((AnchorKind.KEY.value, "", hashlib.sha256(row["attester"]).hexdigest()))
    if said["method"] != LABELLING_METHOD or not shown:
        shown.add((NAME, "", said["chip_id"]))
    yield from sorted(shown)


def _values(row: Mapping[str, Any], said: Mapping[str, Any], index: int) -> dict[str, Any]:
    anchored = said["anchors"] if "anchors" in said else json.loads(row["anchors"])
    tbs = row["tbs"]
    return {
        **{name: row[name] for name in _OWN},
        "tbs": tbs if isinstance(tbs, bytes) and tbs in row["certificate_der"] else b"",
        "work_order": said["work_order"],
        "number": said["number"],
        "product": said["product"],
        "chip_id": said["chip_id"],
        "serial_number": said["serial_number"],
        "certificate_serial": said["certificate_serial"],
        "state": "issued",
        "superseded": False,
        "challenge": bytes.fromhex(said["challenge"]),
        "station": said["station"],
        "spki_sha256": bytes.fromhex(said["spki_sha256"]),
        "method": said["method"],
        "level": said["level"],
        "certificate_sha256": bytes.fromhex(said["certificate_sha256"]),
        "issued_at": _time(said),
        "issued_index": index,
        "measured": json.dumps(said.get("measured", json.loads(row["measured"]))),
        "anchors": json.dumps(anchored, ensure_ascii=False, separators=(",", ":")),
    }


def _time(said: Mapping[str, Any]) -> int:
    return seconds(datetime.fromisoformat(said["time"]))
