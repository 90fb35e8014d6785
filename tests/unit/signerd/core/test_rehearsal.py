"""Rehearsals: what an order's file, its product and the other orders come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from harness.ca_chains import (
    MIDDLE,
    ROOT,
    SERVER,
    SUB,
    Case,
    Extra,
    constraints,
    directory,
    dns,
    organization,
    uri,
)
from harness.installation import order_toml
from harness.software_key_holder import make_device_tree
from signerd.core.names import Reissue
from signerd.core.order import FirmwareBundle, WorkOrder
from signerd.core.order_file import ProductRevision, parse_order_file
from signerd.core.product import Product, parse_product
from signerd.core.profile import Issuer
from signerd.core.rehearsal import (
    Opened,
    Outcome,
    Rehearsal,
    Row,
    line_problems,
    rehearse,
)
from signerd.core.validity import ValidityLimits

NOW = datetime(2026, 11, 29, 8, tzinfo=UTC)
TREE = make_device_tree(now=NOW - timedelta(days=2))
ENDS = TREE.sub_ca.not_valid_after_utc
ISSUER = Issuer.of((TREE.sub_ca,))
STATION = "birthmark://dev/station/plant1/pc1"


def product(
    *names: str,
    subject: str = '[["CN", "{serial}"]]',
    evidence: str = "",
    methods: str = '["hmac-sha256"]',
    usage: str = '["digitalSignature"]',
    keys: str = '["p256"]',
    validity: str = "validity_days = 3650",
    top: str = "",
) -> Product:
    """`names`: lines of `[certificate]`, as san_dns."""
    return parse_product(
        f"""\
name = "thing"
{top}
[keys]
accept = {keys}
[evidence]
methods = {methods}
{evidence}
[certificate]
{validity}
subject = {subject}
key_usage = {usage}
"""
        + "\n".join(names)
    )


def order(name: str = "WO-1", *, of: Product | None = None, **terms: Any) -> WorkOrder:
    """Open for a month."""
    told: dict[str, Any] = {"serial_pattern": "S1-{number:04d}", "quantity": 100, **terms}
    text = order_toml(
        name, stations=[STATION], product="thing", level="none", not_before=NOW - timedelta(days=1),
        not_after=NOW + timedelta(days=30), **told,
    )  # fmt: skip
    return parse_order_file(text, lambda _name: ProductRevision(of or product(), bytes(32)))


def rehearsed(
    of: Product,
    wanted: WorkOrder | None = None,
    *others: Opened,
    listed: Sequence[str] = (),
    issuer: Issuer = ISSUER,
) -> Rehearsal:
    return rehearse(wanted or order(of=of), of, others, issuer=issuer, now=NOW, listed=listed)


def row(rehearsal: Rehearsal, check: str) -> Row:
    (found,) = (row for row in rehearsal.rows if row.check == check)
    return found


def refused(rehearsal: Rehearsal, check: str) -> str:
    """Of this check, and of no other."""
    assert [each.check for each in rehearsal.rows if each.outcome is Outcome.REFUSED] == [check]
    assert not rehearsal.passed
    assert rehearsal.samples == ()
    return row(rehearsal, check).text


def test_an_order_that_can_be_finished() -> None:
    result = rehearsed(product(keys='["p256", "rsa2048", "p384"]'))
    assert result.passed
    places = [
        (sample.place.serial_number, sample.place.number, len(sample.place.chip_id))
        for sample in result.samples
    ]
    assert places == [("S1-0001", 1, 64), ("S1-0100", 100, 64)] * 2
    assert all(sample.certificate(ISSUER) for sample in result.samples if sample.place)


@pytest.mark.parametrize(
    ("names", "subject", "evidence", "reason"),
    [
        ((), '[["CN", "Sensor {chip_id} {serial}"]]', "", "CN"),
        ((), '[["serialNumber", "{chip_id}"], ["CN", "{serial}"]]', "", "'_' is not in PrintableString"),
        ((), '[["DNQ", "{chip_id}"], ["CN", "{serial}"]]', "", "'_' is not in PrintableString"),
        ((), '[["O", "A {chip_id}"], ["CN", "{serial}"]]', "", "66 characters, at most 64"),
        ((), '[["L", "A {chip_id}{chip_id}"], ["CN", "{serial}"]]', "", "130 characters, at most 128"),
        ((), '[["C", "{number}"], ["CN", "{serial}"]]', "", "ISO 3166"),
        ((), '[["CN", "{serial}"], ["OU", " "]]', "", "empty"),
        (('san_dns = ["{chip_id}.example.com"]',), '[["CN", "{serial}"]]', "", "a label of 64"),
        (
            ('san_dns = ["{chip_id}"]',),
            '[["CN", "{serial}"]]',
            'chip_ids = "[0-9a-f:]{17}"',
            "':' is not in a DNS name",
        ),
        (('san_dns = ["{chip_id}"]',), '[["CN", "{serial}"]]', 'chip_ids = "[0-9a-z-]{4}"', "hyphen"),
        (('san_dns = ["a.{number}"]',), '[["CN", "{serial}"]]', "", "a number"),
        (('san_uri = ["https://{chip_id}/"]',), '[["CN", "{serial}"]]', "", "its host"),
        (('san_uri = ["{chip_id}"]',), '[["CN", "{serial}"]]', "", "relative"),
    ],
)
def test_names_that_the_longest_or_oddest_chip_id_breaks(
    names: tuple[str, ...], subject: str, evidence: str, reason: str
) -> None:
    assert reason in refused(rehearsed(product(*names, subject=subject, evidence=evidence)), "names")


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ('san_dns = ["{chip_id}"]', "CHIP-[0-9]{4}"),
        ('san_dns = ["{chip_id}.devices.example.com"]', "[0-9a-f]{12}"),
        ('san_uri = ["https://{chip_id}.example.com/"]', "[0-9a-f]{8}-[0-9a-f]{4}"),
    ],
)
def test_a_narrower_form_of_chip_ids_lets_them_pass(line: str, form: str) -> None:
    assert rehearsed(product(line, evidence=f'chip_ids = "{form}"')).passed
    assert not rehearsed(product(line)).passed


@pytest.mark.parametrize(
    ("name", "terms", "evidence"),
    [
        ("{number}--a.example.com", {}, ""),
        ("{serial}--a.example.com", {"serial_pattern": "{number}", "serial_start": 7}, ""),
        ("{chip_id}--a.example.com", {}, 'chip_ids = "[a-z]{1,4}"'),
    ],
)
def test_names_that_only_boards_between_the_first_and_the_last_break(
    name: str, terms: dict[str, Any], evidence: str
) -> None:
    """With two digits or letters before them, the hyphens are a label's third and fourth."""
    of = product(f'san_dns = ["{name}"]', evidence=evidence)
    assert "hyphens in the third and fourth place" in refused(rehearsed(of, order(**terms)), "names")
    assert rehearsed(of, order(quantity=1)).passed == ("chip_id" not in name)


def test_all_names_together_stay_below_what_the_key_holder_takes() -> None:
    uris = ", ".join(f'"urn:a:{number}:{"{chip_id}" * 15}"' for number in range(15))
    text = f"san_uri = [{uris}]"
    assert "come to" in refused(rehearsed(product(text)), "names")
    assert rehearsed(product(text, evidence='chip_ids = "[a-z]{8}"')).passed
    # Chips that are put on the list later are looked at one by one.
    listed = product(text, evidence='chips = "listed"')
    assert rehearsed(listed).passed
    assert list(line_problems(order(), listed, "c" * 8)) == []
    assert "take some away" in "".join(line_problems(order(), listed, "c" * 64))


def test_a_common_name_whose_letters_take_two_bytes() -> None:
    text = f'[["CN", "{"ü" * 30}{{chip_id}}"], ["OU", "{"ü" * 60}"]]'
    listed = product(subject=text, evidence='chips = "listed"')
    assert "subject CN" in refused(rehearsed(listed), "names")
    assert list(line_problems(order(), listed, "abcd")) == []
    assert "65 bytes in UTF-8, at most 64" in "".join(line_problems(order(), listed, "abcde"))


def test_a_line_by_which_a_product_does_not_list_chips() -> None:
    listed = product(evidence='chips = "listed"')
    assert list(line_problems(order(), listed, "CHIP-1")) == []
    assert "lists chips by id (listed_by)" in "".join(line_problems(order(), listed, "ueid=01"))
    by_ueid = product('san_dns = ["{chip_id}"]', evidence='chips = "listed"\nlisted_by = ["ueid", "id"]')
    assert list(line_problems(order(), by_ueid, "ueid=01")) == []
    assert "'_' is not in a DNS name" in "".join(line_problems(order(), by_ueid, "CHIP_1"))


def test_the_modems_ids_are_uuids() -> None:
    assert rehearsed(product('san_dns = ["{chip_id}"]', methods='["nrf91"]')).passed
    assert not rehearsed(product('san_dns = ["{chip_id}"]', methods='["nrf91", "hmac-sha256"]')).passed


def test_a_list_counts_where_each_chip_stands_on_it_and_there_alone() -> None:
    line = 'san_dns = ["{chip_id}"]'
    listed = product(line, evidence='chips = "listed"')
    assert rehearsed(listed, listed=["CHIP-1", "CHIP-20"]).passed
    assert row(rehearsed(listed), "chips").outcome is Outcome.NOTE
    assert "'_'" in refused(rehearsed(listed, listed=["CHIP-1", "CHIP_2"]), "names")
    assert not rehearsed(product(line), listed=["CHIP-1"]).passed
    assert list(line_problems(order(), listed, "CHIP-1")) == []
    assert "'_' is not in a DNS name" in "".join(line_problems(order(), listed, "CHIP_1"))
    narrow = product(evidence='chip_ids = "CHIP-[0-9]"')
    assert "not of the product's form, CHIP-[0-9]" in "".join(line_problems(order(), narrow, "CHIP-10"))


def test_the_last_serial_number_is_longer_than_the_first() -> None:
    fits = order(serial_pattern="N" * 49 + "{number}", serial_start=9_999, quantity=1)
    wider = order(serial_pattern="N" * 49 + "{number}", serial_start=9_999, quantity=2)
    labels = product('san_dns = ["aaaaaaaaaa{serial}"]')
    assert rehearsed(labels, fits).passed
    assert "a label of 64" in refused(rehearsed(labels, wider), "names")
    assert row(rehearsed(product(), wider), "serial numbers").outcome is Outcome.NOTE


def test_a_chip_that_comes_again_keeps_the_serial_number_of_its_first_order() -> None:
    printable = product(subject='[["serialNumber", "{serial}"]]')
    first = Opened(order("WO-0", serial_pattern="A_{number}"), printable)
    assert rehearsed(printable, order(reissue="never"), first).passed
    again = replace(order(), reissue=Reissue.ALWAYS)
    assert "A_100" in refused(rehearsed(printable, again, first), "names")


@pytest.mark.parametrize(
    "subject",
    [
        '[["CN", "{number}"]]',
        '[["CN", "sensor"]]',
        '[["CN", "{product}"], ["OU", "{work_order}"]]',
        '[["O", "{number}"], ["CN", "x"]]',
        '[["CN", "{chip_id}{chip_id}x{chip_id}"]]',
    ],
)
def test_subjects_that_do_not_tell_boards_apart(subject: str) -> None:
    result = rehearsed(product(subject=subject, evidence='chip_ids = "[0-9a-f]{1,8}"'))
    assert "{serial} or {chip_id}" in refused(result, "subjects")


@pytest.mark.parametrize(
    "subject",
    [
        '[["CN", "{serial}"]]',
        '[["CN", "{chip_id}"]]',
        '[["CN", "{chip_id} {serial}"]]',
        '[["CN", "{serial}-{chip_id}"]]',
        '[["CN", "{product}-{chip_id}-{serial}"]]',
        '[["OU", "{work_order}"], ["CN", "{number}"]]',
        '[["CN", "{work_order}-{number}"]]',
        '[["O", "x"], ["serialNumber", "{serial}"]]',
    ],
)
def test_subjects_that_do(subject: str) -> None:
    mine = product(subject=subject, evidence='chip_ids = "[0-9a-f]{8}"')
    other = Opened(order("WO-0", of=mine, serial_pattern="S0-{number:04d}"), mine)
    result = rehearsed(mine, None, other)
    assert result.passed
    assert row(result, "subjects").outcome is Outcome.OK or subject.count("{") > 1


def test_two_orders_whose_numbers_come_to_one_subject() -> None:
    mine = product(subject='[["CN", "{work_order}{number}"]]')
    first = Opened(order("WO-1", serial_pattern="S1-{number:04d}"), mine)
    second = order("WO-11", serial_pattern="S2-{number:04d}")
    assert "work order WO-1 could have the same subject" in refused(
        rehearsed(mine, second, first), "subjects"
    )
    twin = order("wo-1", serial_pattern="S3-{number:04d}")
    assert "same subject" in refused(rehearsed(mine, twin, first), "subjects")  # RFC 5280 §7.1


def test_templates_of_two_products_that_come_to_one_subject() -> None:
    short, long = product(), product(subject='[["CN", "S{serial}"]]')
    first = Opened(order("WO-1", serial_pattern="SS-{number}"), short)
    assert "same subject" in refused(
        rehearsed(long, order("WO-2", serial_pattern="S-{number}"), first), "subjects"
    )
    assert rehearsed(long, order("WO-2", serial_pattern="T-{number}"), first).passed
    fixed = product(subject='[["O", "other"], ["CN", "S{serial}"]]')
    assert rehearsed(fixed, order("WO-2", serial_pattern="S-{number}"), first).passed
    chip = rehearsed(product(subject='[["CN", "{chip_id}"]]'), order("WO-3"), first)
    assert row(chip, "subjects").outcome is Outcome.NOTE


def test_serial_numbers_that_overlap_or_differ_by_letter_case_alone() -> None:
    first = Opened(order("WO-1", serial_pattern="bm-{number:04d}"), product(subject='[["CN", "{chip_id}"]]'))
    later = order("WO-2", serial_pattern="BM-{number:04d}", serial_start=50)
    chips = product(subject='[["CN", "{chip_id}"]]')
    assert "letter case alone" in refused(rehearsed(chips, later, first), "serial numbers")
    assert rehearsed(chips, order("WO-2", serial_pattern="BM-{number:04d}", serial_start=101), first).passed


def test_the_window_and_the_validity_against_the_sub_cas_end() -> None:
    left = (ENDS - NOW).days
    assert "years from now" in row(rehearsed(product()), "validity").text
    fits = product(validity=f"validity_days = {left - 31}")
    assert "0.0 years" not in row(rehearsed(fits), "validity").text
    wide = Issuer.of((TREE.sub_ca,), ValidityLimits(timedelta(days=36_500)))
    over = product(validity=f"validity_days = {left - 29}")
    text = refused(rehearsed(over, issuer=wide), "validity")
    assert "after its sub-CA" in text
    assert "Shorten validity_days, end the window by" in text
    # At its beginning it would fit, and fail on the last days.
    assert rehearsed(over, replace(order(), not_after=NOW + timedelta(days=1)), issuer=wide).passed


@pytest.mark.parametrize(
    ("validity", "limits", "reason"),
    [
        ('not_after = "99991231235959Z"', ValidityLimits(), None),
        ('not_after = "99991231235959Z"', ValidityLimits(allow_no_expiry=False), "max_validity_days"),
        ('not_after = "20261201000000Z"', ValidityLimits(), "before it begins"),
        ('not_after = "20991231235959Z"', ValidityLimits(timedelta(days=36_500)), "after its sub-CA"),
        ("validity_days = 3650", ValidityLimits(timedelta(days=3649)), "max_validity_days is 3649"),
        ("validity_days = 3650\nbackdate_s = 60", ValidityLimits(timedelta(days=3650)), "max_validity_days"),
        ('not_after = "20261201000000Z"', ValidityLimits(), "certificate.not_after is a day between"),
        # Read with one digit each for month and day, as strptime does.
        ('not_after = "203011000000Z"', ValidityLimits(), "would be read as 2030-"),
    ],
)
def test_validities(validity: str, limits: ValidityLimits, reason: str | None) -> None:
    result = rehearsed(product(validity=validity), issuer=Issuer.of((TREE.sub_ca,), limits))
    if reason is None:
        assert result.passed
    else:
        assert reason in refused(result, "validity")


def test_a_window_beyond_the_last_year() -> None:
    far = replace(order(), not_after=datetime(9998, 1, 1, tzinfo=UTC))
    assert "after the year 9999" in refused(rehearsed(product(), far), "validity")


def test_a_window_that_is_over() -> None:
    past = replace(order(), not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1))
    assert "it is over" in refused(rehearsed(product(), past), "window")


@pytest.mark.parametrize(
    ("keys", "usage", "methods", "reason"),
    [
        ('["p256"]', '["digitalSignature", "keyEncipherment"]', '["hmac-sha256"]', "keyEncipherment"),
        ('["rsa2048", "p256"]', '["dataEncipherment"]', '["hmac-sha256"]', "of p256 keys (RFC 8813"),
        ('["rsa2048"]', '["digitalSignature", "keyAgreement"]', '["hmac-sha256"]', "keyAgreement"),
        ('["p384"]', '["digitalSignature"]', '["nrf91"]', "P-256 keys alone"),
    ],
)
def test_keys_that_cannot_have_the_profiles_usage(keys: str, usage: str, methods: str, reason: str) -> None:
    assert reason in refused(rehearsed(product(keys=keys, usage=usage, methods=methods)), "keys")


def test_the_bundles_chip_against_the_products() -> None:
    mine, bundle = product(top='chip = "esp32s3"'), FirmwareBundle(bytes(32), {}, "esp32s3")
    assert rehearsed(mine, replace(order(), bundle=bundle)).passed
    other = replace(order(), bundle=replace(bundle, chip="esp32c3"))
    assert "it is for esp32c3, and the product's boards have esp32s3" in refused(
        rehearsed(mine, other), "bundle"
    )
    unnamed = replace(order(), bundle=replace(bundle, chip=None))
    assert "bundle show --order" in refused(rehearsed(mine, unnamed), "bundle")
    assert row(rehearsed(product(), unnamed), "bundle").outcome is Outcome.NOTE
    assert rehearsed(product(), other).passed
    assert "no HMAC peripheral" in refused(rehearsed(product(top='chip = "esp32"')), "silicon")


FOR_SERVERS: Extra = (x509.ExtendedKeyUsage([SERVER]), False)


def below(*extra: Extra) -> Issuer:
    """A sub-CA below a CA with these extensions."""
    case = Case("", (ROOT, replace(MIDDLE, extra=extra), SUB), valid=True)
    return Issuer.of(case.chain, root=case.root)


@pytest.mark.parametrize(
    ("extra", "names", "reason"),
    [
        (constraints(dns("a.example")), ('san_dns = ["{serial}.b.example"]',), "S1-0001.b.example is not"),
        (constraints(dns("a.example")), ('san_dns = ["{chip_id}.a.example"]',), None),
        (constraints(None, dns("s1-0100.a.example")), ('san_dns = ["{serial}.a.example"]',), "is excluded"),
        (constraints(None, dns("s1-0101.a.example")), ('san_dns = ["{serial}.a.example"]',), None),
        (constraints(uri("a.example")), ('san_uri = ["urn:example:{serial}"]',), "no plain host name"),
        (constraints(uri("a.example")), ('san_uri = ["https://a.example/{serial}"]',), None),
        (constraints(directory(organization("Other"))), (), "is not within subject Other"),
        (FOR_SERVERS, ('extended_key_usage = ["clientAuth"]',), "1.3.6.1.5.5.7.3.2"),
        (FOR_SERVERS, ('extended_key_usage = ["serverAuth"]',), None),
        (FOR_SERVERS, (), None),
    ],
)  # fmt: skip
def test_what_the_cas_above_the_boards_forbid(extra: Extra, names: Sequence[str], reason: str | None) -> None:
    of = product(*names, evidence='chip_ids = "[0-9a-f]{8}"')
    result = rehearsed(of, issuer=below(extra))
    if reason is None:
        assert result.passed, result.rows
        assert all(sample.certificate(below(extra)) for sample in result.samples)
        return
    assert reason in refused(result, "chain")
    # And no certificate could be issued all the same.
    last = rehearsed(of, issuer=ISSUER).samples[-1]
    with pytest.raises(ValueError, match="the chain above it forbids it"):
        last.certificate(below(extra))


def test_a_chip_id_that_makes_a_common_name_look_like_a_dns_name() -> None:
    """OpenSSL holds such a common name against DNS constraints where no DNS name is beside it."""
    of = product(subject='[["CN", "{chip_id}"], ["serialNumber", "{serial}"]]')
    assert "is not within DNS a.example" in refused(
        rehearsed(of, issuer=below(constraints(dns("a.example")))), "chain"
    )


def test_a_ca_above_that_ends_before_the_sub_ca() -> None:
    case = Case("", (ROOT, replace(MIDDLE, end=NOW + timedelta(days=3660)), SUB), valid=True)
    text = refused(rehearsed(product(), issuer=Issuer.of(case.chain, root=case.root)), "validity")
    assert "after its sub-CA or a CA above it, which ends at" in text
