"""A store with something in nearly each table, by the acts of administrators and stations."""

from __future__ import annotations

from dataclasses import replace

from harness.store_world import NOW, ORDER, STATION, World, digest, intent, issue, stock, with_terms
from signerd.adapters.store import Announcement, Step
from signerd.core.anchors import Anchor, AnchorKind
from signerd.core.entry import IssuerAdded
from signerd.core.identity_list import ChipIdentity
from signerd.core.names import Reissue, parse_peer_uri

FREE = with_terms(work_order="WO-2", reissue=Reissue.ALWAYS, serial_pattern="F-{number:06d}")
AUDITOR = parse_peer_uri("birthmark://test/auditor/ann")
SERIAL = Anchor.stated(AnchorKind.SERIAL, "S-1", b"vendor's key")


async def fill(world: World) -> None:
    """24 entries, 4 certificates."""
    async with world.opened() as store:
        await stock(store, ORDER, FREE)
        await store.add_product("sensor", 'name = "sensor"\n# second\n', NOW)
        await store.add_peer(AUDITOR, digest("auditor"), NOW)
        await store.renew_peer(AUDITOR, digest("auditor 2"), NOW, not_after=NOW)
        await store.personalize_chips(
            ["a", "b"], locked=True, site="lab", key="hmac-sha256", by="ann", now=NOW
        )
        await store.import_chips("WO-1", ["chip-1", "chip-2", "chip-3"], NOW)
        keys = [ChipIdentity(f"chip-{number}", b"id %d" % number, b"key %d" % number) for number in range(3)]
        await store.import_identities("sensor", "nrf91", keys, by="ann", now=NOW)
        await store.add_issuer(
            IssuerAdded(
                time=NOW, by="ann", issuer="second", ca="main",
                certificate_sha256=digest("second"), root_sha256=digest("root"), not_after=NOW,
            )
        )  # fmt: skip
        await store.activate_issuer("second", NOW)
        wanted = Announcement(Step.ADDED, digest("operations"), NOW, None, force=False)
        await store.announce_operations_ca(wanted, NOW)
        await store.record_crl(
            number=await store.allot_crl_number(), crl_sha256=bytes(32), next_update=NOW, count=0, now=NOW
        )
        for chip in ("chip-1", "chip-2"):
            request = replace(intent(chip), issuer_id=2, anchors=(SERIAL,) if chip == "chip-1" else ())
            record = await issue(store, request)
            await store.record_stamp(record, stamp=b"stamp", signature=b"s", station=STATION, now=NOW)
        await issue(store, replace(intent("free-1", order=FREE), issuer_id=2))
        await issue(store, replace(intent("free-1", "another key", order=FREE), issuer_id=2))
        await store.revoke(serial_number="BM-000002", reason="keyCompromise", now=NOW, by="ann")
        await store.close_order("WO-2", NOW)
