"""Stories of a log whose tree is genuine: what is allowed, and each lie that is one finding at its entry.

A story writes into an honest log with one order open, `harness.audit_bench.opened()`. A lie differs from what
is allowed in one thing, and returns the index of the entry that it is found at.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any

import rfc8785

from birthmark.v1 import audit_pb2, signing_pb2
from harness.paper_certificates import new_key, spki
from harness.paper_log import ORDER, STATION, PaperLog, text

Story = Callable[[PaperLog], int | None]
SECOND = "birthmark://paper/station/plant1/pc2"


def reissue_where_allowed(log: PaperLog) -> None:
    log.open_order("WO-2", reissue="always")
    first = log.issue(1, work_order="WO-2")
    key = new_key()
    log.stamp(first)
    log.revoke(first, reason="superseded", superseded_by=sha256(spki(key)).hexdigest())
    second = log.issue(1, work_order="WO-2", key=key, supersedes=first.certificate_sha256)
    log.stamp(second)


def out_of_order_numbers(log: PaperLog) -> None:
    log.issue(2)
    log.issue(1)


def an_open_intent(log: PaperLog) -> None:
    log.issue(2)
    log.records.append(
        audit_pb2.Record(
            record_id=2,
            state=audit_pb2.RECORD_STATE_INTENT,
            level=signing_pb2.EVIDENCE_LEVEL_KEY,
            work_order=ORDER,
            number=1,
        )
    )


def refusals_crl_and_peers(log: PaperLog) -> None:
    log.append(
        "refused", peer=STATION, call="AdminService.MakeCrl", code="order_full", count=3,
        work_order=None, chip_id=None, csr_sha256=None,
    )  # fmt: skip
    log.revoke(log.issue(1))
    log.append("crl_issued", crl_number=1, crl_sha256="00" * 32, next_update=text(log.now), count=1)
    log.append("station_revoked", peer=STATION)
    log.add_station()
    log.issue(2)


def a_resumed_intent_after_close(log: PaperLog) -> None:
    log.append(
        "intent_open", work_order=ORDER, chip_id=f"chip-{ORDER}-1", serial_number=f"{ORDER}-000001",
        number=1, tbs_sha256="00" * 32, since=text(log.now),
    )  # fmt: skip
    log.close_order()
    log.now += timedelta(days=1)
    log.issue(1)


def in_flight_at_close(log: PaperLog) -> None:
    log.close_order()
    log.append("station_revoked", peer=STATION)
    log.issue(1)


HONEST = [
    reissue_where_allowed, out_of_order_numbers, an_open_intent, refusals_crl_and_peers,
    a_resumed_intent_after_close, in_flight_at_close,
]  # fmt: skip


def _over_quantity(log: PaperLog) -> int:
    return [log.issue(number) for number in (1, 2, 3, 4, 5)][-1].issued_index


def _gap(log: PaperLog) -> None:
    log.issue(1)
    log.issue(3)


def _place_twice(log: PaperLog) -> int:
    log.issue(1)
    log.issue(2)
    return log.issue(2, chip="another", serial_number=f"{ORDER}-000003").issued_index


def _chip_twice(log: PaperLog) -> int:
    log.issue(1)
    return log.issue(1).issued_index


def _unlocked_chip_again_at_level_key(log: PaperLog) -> int:
    log.personalize(1, locked=False)
    log.open_order("WO-2", quantity=20, reissue="always")
    for number in range(1, 11):
        log.issue(number, work_order="WO-2")
    first = log.issue(11, work_order="WO-2", level="chip")
    key = new_key()
    log.revoke(first, reason="superseded", superseded_by=sha256(spki(key)).hexdigest())
    return log.issue(11, work_order="WO-2", key=key, supersedes=first.certificate_sha256).issued_index


def _identities_of_no_product(log: PaperLog) -> int:
    return log.import_identities("nrf91", 1, product="other")


def _miscounted_primes(log: PaperLog) -> int:
    board = log.issue(1)
    return log.append("shared_primes_found", count=2, certificates=[board.certificate_sha256])


def _key_twice(log: PaperLog) -> int:
    return log.issue(2, key=log.issue(1).key).issued_index


def _serial_twice(log: PaperLog) -> int:
    log.issue(1)
    return log.issue(2, serial_number=f"{ORDER}-000001").issued_index


def _revoked_station(log: PaperLog) -> int:
    log.append("station_revoked", peer=STATION)
    log.now += timedelta(hours=1)
    return log.issue(1).issued_index


def _unlisted_station(log: PaperLog) -> int:
    log.add_station(SECOND)
    return log.issue(1, station=SECOND).issued_index


def _unregistered_station(log: PaperLog) -> int:
    log.open_order("WO-2", stations=[SECOND])
    return log.issue(1, work_order="WO-2", station=SECOND).issued_index


def _after_close(log: PaperLog) -> int:
    log.close_order()
    log.now += timedelta(hours=1)
    return log.issue(1).issued_index


def _before_window(log: PaperLog) -> int:
    log.open_order("WO-2", not_before=text(log.now + timedelta(days=1)))
    return log.issue(1, work_order="WO-2").issued_index


def _level_below(log: PaperLog) -> int:
    log.open_order("WO-2", level="key")
    return log.issue(1, work_order="WO-2", level="chip").issued_index


def none_with_level(log: PaperLog) -> int:
    log.append("chips_imported", work_order=ORDER, count=1, chips_sha256="00" * 32)
    return log.issue(1, method="none").issued_index


def _another_product(log: PaperLog) -> int:
    return log.issue(1, product="other").issued_index


def _unknown_order(log: PaperLog) -> int:
    return log.issue(1, work_order="WO-9").issued_index


def _challenge_again(log: PaperLog) -> int:
    first = log.issue(1)
    second = log.issue(2, challenge=first.record.challenge.hex())
    second.record.challenge = first.record.challenge
    return second.issued_index


def _uncounted_chip(log: PaperLog) -> int:
    log.open_order("WO-2", quantity=20)
    return [log.issue(number, work_order="WO-2") for number in range(1, 12)][-1].issued_index


def _unlocked_chip(log: PaperLog) -> int:
    log.personalize(10, locked=False)
    log.open_order("WO-2", quantity=20)
    return [log.issue(number, work_order="WO-2") for number in range(1, 12)][-1].issued_index


def _unlisted_chip(log: PaperLog) -> int:
    log.open_order("WO-2", level="none")
    log.append("chips_imported", work_order="WO-2", count=1, chips_sha256="00" * 32)
    log.issue(1, work_order="WO-2", method="none", level="none")
    return log.issue(2, work_order="WO-2", method="none", level="none").issued_index


def _superseded_although_never(log: PaperLog) -> int:
    first = log.issue(1)
    key = new_key()
    log.revoke(first, reason="superseded", superseded_by=sha256(spki(key)).hexdigest())
    return log.issue(1, key=key, supersedes=first.certificate_sha256).issued_index


def _superseded_without_successor(log: PaperLog) -> int:
    return log.revoke(log.issue(1), reason="superseded", superseded_by="00" * 32)


def _stamped_twice(log: PaperLog) -> int:
    board = log.issue(1)
    log.stamp(board)
    return log.log_stamped(board)


def _stamped_unissued(log: PaperLog) -> int:
    board = log.issue(1)
    return log.log_stamped(board, certificate_sha256="00" * 32)


def _stamped_another_chip(log: PaperLog) -> int:
    return log.stamp(log.issue(1), chip_id="another")


def _revoked_twice(log: PaperLog) -> int:
    board = log.issue(1)
    first = log.revoke(board)
    second = log.revoke(board)
    board.record.revoked_index = first
    return second


def _revoked_another_serial(log: PaperLog) -> int:
    return log.revoke(log.issue(1), certificate_serial="77")


def _order_twice(log: PaperLog) -> int:
    opened_index = log.orders[ORDER].opened_index
    index = log.open_order()
    log.orders[ORDER].opened_index = opened_index  # as the ledger's books have it
    return index


def _firmware_of_no_bundle(log: PaperLog) -> int:
    return log.open_order("WO-2", firmware={"app": ["1.4.0", "00" * 32]})


def _bundle_that_is_no_digest(log: PaperLog) -> int:
    return _opened_with(log, bundle_sha256="AB" * 32)


def _firmware_of_no_component(log: PaperLog) -> int:
    return _opened_with(log, firmware={})


def _firmware_of_17_components(log: PaperLog) -> int:
    return _opened_with(log, firmware={f"c{number}": ["1.0", "00" * 32] for number in range(17)})


def _firmware_without_digest(log: PaperLog) -> int:
    return _opened_with(log, firmware={"app": ["1.4.0"]})


def _firmware_as_an_array(log: PaperLog) -> int:
    return _opened_with(log, firmware=[["app", "1.4.0", "00" * 32]])


def _firmware_with_a_name_of_other_letters(log: PaperLog) -> int:
    return _opened_with(log, firmware={"\u0430pp": ["1.4.0", "00" * 32]})


def _opened_with(log: PaperLog, **changes: object) -> int:
    """An order that would be one with `bundle_sha256` and `firmware` of their form."""
    members = {key: value for key, value in json.loads(log.entries[-1]).items() if key not in {"v", "time"}}
    kind = members.pop("type")
    assert kind == "order_opened"
    named = {"bundle_sha256": "ab" * 32, "firmware": {"app": ["1.4.0", "00" * 32]}}
    return log.append(kind, **members | named | {"work_order": "WO-2"} | changes)


def _closed_twice(log: PaperLog) -> int:
    log.close_order()
    return log.close_order()


def _unknown_product(log: PaperLog) -> int:
    return log.open_order("WO-2", product_sha256="00" * 32)


def _peer_twice(log: PaperLog) -> int:
    return log.add_station()


def _renewed_without_being_registered(log: PaperLog) -> int:
    return renew(log, SECOND)


def _renewed_after_it_was_revoked(log: PaperLog) -> int:
    log.add_station(SECOND)
    log.append("station_revoked", peer=SECOND)
    return renew(log, SECOND)


def _renewed_with_an_end_that_is_over(log: PaperLog) -> int:
    log.add_station(SECOND)
    return renew(log, SECOND, days=0)


def renew(log: PaperLog, peer: str, *, days: int = 825) -> int:
    end = f"{log.now + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"
    return log.append("station_renewed", peer=peer, spki_sha256="01" * 32, not_after=end)


def _peer_of_another_deployment(log: PaperLog) -> int:
    return log.add_station("birthmark://other/station/plant1/pc1")


def _time_backward(log: PaperLog) -> int:
    log.add_station(SECOND)
    log.now -= timedelta(hours=1)
    return log.append("station_revoked", peer=SECOND)


def _form_1_after_form_2(log: PaperLog) -> int:
    log.form = 1
    return log.add_station(SECOND)


def _id_twice(log: PaperLog) -> int:
    used = json.loads(log.entries[0])["id"]
    return log.append("station_added", id=used, peer=SECOND, spki_sha256="00" * 32)


def _log_opened_again(log: PaperLog) -> int:
    return log.open_log()


def commit_keys(log: PaperLog, **changes: object) -> int:
    committed = {"checkpoint": "sealed", "chip_master": "sealed", "chip_master_commitment": "01" * 32}
    return log.append("keys_committed", **committed | {"recipients": ["02" * 32]} | changes)


def _another_master_key(log: PaperLog) -> int:
    commit_keys(log)
    return commit_keys(log, chip_master_commitment="03" * 32)


def _checkpoint_key_moved(log: PaperLog) -> int:
    commit_keys(log)
    return commit_keys(log, checkpoint="token")


def _sealed_without_commitment(log: PaperLog) -> int:
    return commit_keys(log, chip_master_commitment=None)


def _sealed_to_nobody(log: PaperLog) -> int:
    return commit_keys(log, recipients=[])


def _recipients_of_nothing(log: PaperLog) -> int:
    return commit_keys(log, checkpoint="token", chip_master="token", chip_master_commitment=None)


def _renewal_chosen_without_being_registered(log: PaperLog) -> int:
    return log.append("renewal_chosen", peer=SECOND, automatic=True)


def ca_step(log: PaperLog, step: str, ca: str = "01", **members: object) -> int:
    return log.append(f"operations_ca_{step}", ca_sha256=ca * 32, **members)


def add_ca(log: PaperLog, ca: str = "01", *, years: int = 20) -> int:
    return ca_step(log, "added", ca, not_after=text(log.now + timedelta(days=365 * years)))


def _ca_added_twice(log: PaperLog) -> int:
    add_ca(log)
    return add_ca(log)


def _ca_that_had_ended(log: PaperLog) -> int:
    return add_ca(log, years=-1)


def _ca_activated_unannounced(log: PaperLog) -> int:
    return ca_step(log, "activated")


def _ca_activated_after_it_was_retired(log: PaperLog) -> int:
    add_ca(log)
    ca_step(log, "retired")
    return ca_step(log, "activated")


def _ca_retired_twice(log: PaperLog) -> int:
    add_ca(log)
    ca_step(log, "retired", "02")
    return ca_step(log, "retired", "02")


def _second_ca_retired_that_was_not_added(log: PaperLog) -> int:
    add_ca(log)
    ca_step(log, "retired", "02")
    return ca_step(log, "retired", "03")


def _every_ca_retired(log: PaperLog) -> int:
    add_ca(log)
    ca_step(log, "retired", "02")
    return ca_step(log, "retired")


def _crl_number(log: PaperLog) -> int:
    moment = text(log.now)
    log.append("crl_issued", crl_number=1, crl_sha256="00" * 32, next_update=moment, count=0)
    return log.append("crl_issued", crl_number=1, crl_sha256="00" * 32, next_update=moment, count=0)


def _crl_count(log: PaperLog) -> int:
    return log.append("crl_issued", crl_number=1, crl_sha256="00" * 32, next_update=text(log.now), count=1)


def _intent_of_another_board(log: PaperLog) -> int:
    log.append(
        "intent_open", work_order=ORDER, chip_id="another", serial_number=f"{ORDER}-000001",
        number=1, tbs_sha256="00" * 32, since=text(log.now),
    )  # fmt: skip
    return log.issue(1).issued_index


def _intent_before_its_order(log: PaperLog) -> int:
    return log.append(
        "intent_open", work_order=ORDER, chip_id="chip", serial_number=f"{ORDER}-000001",
        number=1, tbs_sha256="00" * 32, since=text(log.now - timedelta(days=2)),
    )  # fmt: skip


def _not_canonical(log: PaperLog) -> int:
    common: dict[str, Any] = {"v": 3, "id": "00" * 16, "by": None, "time": text(log.now)}
    entry = rfc8785.dumps(common | {"type": "order_closed", "work_order": ORDER})
    return log.append_raw(entry.replace(b",", b", "))


def _unknown_type(log: PaperLog) -> int:
    return log.append("something_else")


def _member_too_many(log: PaperLog) -> int:
    return log.append("order_closed", work_order=ORDER, more=1)


def _oversized(log: PaperLog) -> int:
    return log.append_raw(b"{" + b" " * 65_535)


def _no_json(log: PaperLog) -> int:
    return log.append_raw(b"\xff\x00")


LIES: list[tuple[Story, str]] = [
    (_over_quantity, "OVER_QUANTITY"),
    (_gap, "NUMBER"),
    (_place_twice, "NUMBER"),
    (_chip_twice, "CHIP_TWICE"),
    (_key_twice, "KEY_TWICE"),
    (_serial_twice, "SERIAL_NUMBER"),
    (_revoked_station, "STATION_NOT_ALLOWED"),
    (_unlisted_station, "STATION_NOT_ALLOWED"),
    (_unregistered_station, "STATION_NOT_ALLOWED"),
    (_after_close, "ORDER_NOT_OPEN"),
    (_before_window, "ORDER_NOT_OPEN"),
    (_level_below, "LEVEL"),
    (_another_product, "ORDER_TERMS"),
    (_unknown_order, "ORDER_UNKNOWN"),
    (_challenge_again, "VALUE_REUSED"),
    (_uncounted_chip, "CHIPS_UNCOUNTED"),
    (_unlocked_chip, "CHIPS_UNCOUNTED"),
    (_unlisted_chip, "CHIPS_UNCOUNTED"),
    (_unlocked_chip_again_at_level_key, "CHIPS_UNCOUNTED"),
    (_identities_of_no_product, "PRODUCT_UNKNOWN"),
    (_miscounted_primes, "SHARED_PRIMES_HISTORY"),
    (_superseded_although_never, "CHIP_TWICE"),
    (_superseded_without_successor, "REVOCATION_HISTORY"),
    (_stamped_twice, "STAMP_HISTORY"),
    (_stamped_unissued, "STAMP_HISTORY"),
    (_stamped_another_chip, "STAMP_HISTORY"),
    (_revoked_twice, "REVOCATION_HISTORY"),
    (_revoked_another_serial, "REVOCATION_HISTORY"),
    (_order_twice, "ORDER_HISTORY"),
    (_closed_twice, "ORDER_HISTORY"),
    (_firmware_of_no_bundle, "ORDER_HISTORY"),
    (_bundle_that_is_no_digest, "ENTRY_FORM"),
    (_firmware_of_no_component, "ENTRY_FORM"),
    (_firmware_of_17_components, "ENTRY_FORM"),
    (_firmware_without_digest, "ENTRY_FORM"),
    (_firmware_as_an_array, "ENTRY_FORM"),
    (_firmware_with_a_name_of_other_letters, "ENTRY_FORM"),
    (_unknown_product, "PRODUCT_UNKNOWN"),
    (_peer_twice, "PEER_HISTORY"),
    (_renewed_without_being_registered, "PEER_HISTORY"),
    (_renewed_after_it_was_revoked, "PEER_HISTORY"),
    (_renewed_with_an_end_that_is_over, "PEER_HISTORY"),
    (_peer_of_another_deployment, "PEER_HISTORY"),
    (_renewal_chosen_without_being_registered, "PEER_HISTORY"),
    (_ca_added_twice, "OPERATIONS_CA_HISTORY"),
    (_ca_that_had_ended, "OPERATIONS_CA_HISTORY"),
    (_ca_activated_unannounced, "OPERATIONS_CA_HISTORY"),
    (_ca_activated_after_it_was_retired, "OPERATIONS_CA_HISTORY"),
    (_ca_retired_twice, "OPERATIONS_CA_HISTORY"),
    (_second_ca_retired_that_was_not_added, "OPERATIONS_CA_HISTORY"),
    (_every_ca_retired, "OPERATIONS_CA_HISTORY"),
    (_time_backward, "TIME_ORDER"),
    (_form_1_after_form_2, "FORM_ORDER"),
    (_id_twice, "VALUE_REUSED"),
    (_log_opened_again, "LOG_IDENTITY"),
    (_another_master_key, "LOG_IDENTITY"),
    (_checkpoint_key_moved, "LOG_IDENTITY"),
    (_sealed_without_commitment, "LOG_IDENTITY"),
    (_sealed_to_nobody, "LOG_IDENTITY"),
    (_recipients_of_nothing, "LOG_IDENTITY"),
    (_crl_number, "CRL_HISTORY"),
    (_crl_count, "CRL_HISTORY"),
    (_intent_of_another_board, "INTENT_HISTORY"),
    (_intent_before_its_order, "INTENT_HISTORY"),
    (_not_canonical, "ENTRY_NOT_CANONICAL"),
    (_unknown_type, "ENTRY_FORM"),
    (_member_too_many, "ENTRY_FORM"),
    (_oversized, "ENTRY_OVERSIZED"),
    (_no_json, "ENTRY_NOT_CANONICAL"),
]
