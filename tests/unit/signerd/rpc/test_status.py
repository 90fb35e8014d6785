from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest

from signerd.adapters.rpc.status import MAX_MESSAGE, STATUS_OF, status_of
from signerd.errors import Code, Fault, Refused, Unavailable

# What gRPC sends as it is; it escapes the rest ("Percent-Byte" of its specification).
PLAIN = "".join(map(chr, range(ord(" "), ord("~") + 1))).replace("%", "")
FORMATS = Path(__file__).resolve().parents[4] / "docs" / "formats.md"


def documented() -> dict[str, str]:
    rows = re.findall(
        r"^\| `([a-z_]+)` \| ([A-Z_]+) \| (?:yes|no) \|", FORMATS.read_text("utf-8"), re.MULTILINE
    )
    return dict(rows)


def test_every_code_has_the_status_that_the_document_says() -> None:
    assert documented() == {code.value: status.name for code, status in STATUS_OF.items()}
    assert set(STATUS_OF) == set(Code)


def test_a_refusal_tells_its_code_alone() -> None:
    status = status_of(Refused(Code.EVIDENCE_REJECTED, "expected 00ff"))
    assert (status.status, status.message) == (grpc.StatusCode.PERMISSION_DENIED, "evidence_rejected")
    assert status.refusal


@pytest.mark.parametrize("code", Code)
def test_only_an_administrator_is_told_why(code: Code) -> None:
    refusal = Refused(code, "order X: quantity: must be 1 or more")
    told = f"{code.value}: order X: quantity: must be 1 or more"
    assert status_of(refusal, administrator=True).message == told
    assert status_of(refusal).message == code.value


@pytest.mark.parametrize("character", ["a", "%", "\n", "ä", "€", "𝄞"])
def test_what_an_administrator_is_told_fits_into_a_status(character: str) -> None:
    def told(count: int) -> str:
        return status_of(Refused(Code.INVALID, character * count), administrator=True).message

    def on_the_wire(message: str) -> int:
        return len(quote(message, safe=PLAIN))

    room = (MAX_MESSAGE - on_the_wire("invalid: ") - on_the_wire("…")) // on_the_wire(character)
    assert told(room) == "invalid: " + character * room
    for count in (room + 1, 40_000):
        assert told(count) == "invalid: " + character * room + "…"
        assert on_the_wire(told(count)) <= MAX_MESSAGE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Fault("disk"), Code.INTERNAL),
        (Unavailable("token"), Code.UNAVAILABLE),
        (KeyError("secret"), Code.INTERNAL),
    ],
)
def test_our_own_faults_are_no_refusals_and_say_nothing(error: Exception, code: Code) -> None:
    status = status_of(error)
    assert (status.code, status.message, status.refusal) == (code, code.value, False)
