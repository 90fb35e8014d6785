"""What ends: in which order, what is warned of, and as a calendar that others read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from signerd.core.ends import WARNED, End, What, due, in_order
from signerd.core.icalendar import calendar

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def end(days: float, what: What = What.SERVER, name: str = "CN=signerd") -> End:
    return End(what, name, NOW + timedelta(days=days))


def test_the_next_one_comes_first_and_what_never_ends_is_left_out() -> None:
    later, sooner = end(20), end(10, What.PEER, "birthmark://example/station/plant1/pc1")
    assert in_order([later, End(What.ROOT, "CN=root", NEVER), sooner]) == (sooner, later)


def test_warned_from_sixty_days_before_and_on_after_the_end() -> None:
    over, soon, edge = end(-3), end(59.9), end(60)
    assert due([edge, soon, over], NOW) == (over, soon)
    assert [each.days_left(NOW) for each in (over, soon, edge)] == [-3, 59, 60]


def test_a_crl_is_warned_of_when_its_timer_has_missed() -> None:
    assert due([end(2, What.CRL)], NOW) == ()
    assert due([end(0.9, What.CRL)], NOW) != ()


@pytest.mark.parametrize("what", What)
def test_each_kind_says_what_stops_and_what_to_do(what: What) -> None:
    assert end(1, what).stops
    assert end(1, what).remedy


LINE = re.compile(r"(?P<name>[A-Z-]+)(?:;[^:]*)?:(?P<value>.*)")
NAMES = ("a, b; c\\d", "zwei\nBEGIN:VEVENT", "ü" * 80, "\u2028end", "x" * 200)


def events(text: str) -> list[dict[str, str]]:
    """RFC 5545 §3.1 and §3.6 as strictly as a reader may: lines, folding, nesting, one value a property."""
    assert text.endswith("\r\n")
    physical = text.removesuffix("\r\n").split("\r\n")
    assert all(0 < len(line.encode()) <= 75 for line in physical)
    assert not any(set(line) & set("\r\n") for line in physical)
    logical: list[str] = []
    for line in physical:
        if line.startswith(" "):
            logical[-1] += line[1:]
        else:
            logical.append(line)
    open_parts: list[str] = []
    found: list[dict[str, str]] = []
    for line in logical:
        match = LINE.fullmatch(line)
        assert match is not None, line
        name, value = match["name"], match["value"]
        if name == "BEGIN":
            open_parts.append(value)
            if value == "VEVENT":
                assert open_parts == ["VCALENDAR", "VEVENT"]
                found.append({})
        elif name == "END":
            assert open_parts.pop() == value
        elif open_parts[-1] == "VEVENT":
            assert name not in found[-1]
            found[-1][name] = value
        elif open_parts[-1] == "VALARM":
            found[-1][f"ALARM-{name}"] = value
    assert open_parts == []
    return found


def unescaped(value: str) -> str:
    assert re.fullmatch(r"(?:[^\\;,]|\\[\\;,nN])*", value), value
    return re.sub(r"\\(.)", r"\1", value)


def test_an_alarm_comes_when_signerd_warns() -> None:
    found = events(calendar([end(3, What.CRL, "main"), end(20, What.ORDER, "WO-1")], "example", NOW))
    assert [event["ALARM-TRIGGER"] for event in found] == ["-P1D", "-P1D"]
    assert due([end(20, What.ORDER)], NOW) == ()


def test_certificates_of_one_subject_are_events_of_their_own() -> None:
    """As cross-signed roots are, and an intermediate that was renewed."""
    old, new = end(100, What.ROOT, "CN=root"), end(900, What.ROOT, "CN=root")
    both, alone = events(calendar([old, new], "example", NOW)), events(calendar([new], "example", NOW))
    assert both[0]["UID"] != both[1]["UID"] == alone[0]["UID"]
    assert both == events(calendar([new, old], "example", NOW))[::-1]


def test_a_calendar_has_an_event_for_each_with_an_alarm() -> None:
    (event,) = events(calendar([end(100)], "example", NOW))
    assert event["DTSTART"] == "20270309T120000Z"
    assert event["DTSTAMP"] == "20261129T120000Z"
    assert event["ALARM-TRIGGER"] == f"-P{WARNED.days}D"
    assert unescaped(event["SUMMARY"]) == "server CN=signerd ends"


@pytest.mark.parametrize("name", NAMES)
def test_no_name_begins_a_line_or_an_event(name: str) -> None:
    (event,) = events(calendar([end(100, What.PRODUCT, name)], name, NOW))
    assert unescaped(event["SUMMARY"]) == f"product {name} ends".replace("\n", " ")


def test_importing_again_moves_an_event() -> None:
    first, other = events(calendar([end(100), end(100, name="CN=other")], "example", NOW))
    (moved,) = events(calendar([end(900)], "example", NOW + timedelta(days=90)))
    assert first["UID"] == moved["UID"] != other["UID"]
