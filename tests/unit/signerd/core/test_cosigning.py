"""A log's side of tlog-witness: the request's bytes, and what each answer of a witness says."""

from __future__ import annotations

import base64

import pytest

from harness.paper_witness import PaperWitness
from signerd.core.cosigning import (
    MAX_ANSWER,
    SIZE_TYPE,
    Answer,
    Verdict,
    parse_witness_key,
    read_answer,
    request_body,
)
from signerd.core.note import Checkpoint, NoteError

CHECKPOINT = Checkpoint("example/log", 7, bytes(32))
TEXT = CHECKPOINT.body()
WITNESS, OTHER = PaperWitness(), PaperWitness("other.example/w")
KEY = parse_witness_key(WITNESS.vkey)
LINE = WITNESS.cosignature(TEXT)


def read(status: int, body: bytes = b"", kind: str = "") -> Answer:
    return read_answer(status, kind, body, text=TEXT, key=KEY)


def test_the_request_of_the_specification() -> None:
    """The shape of tlog-witness's example."""
    note = TEXT + b"\n\xe2\x80\x94 example/log AAAAAAAA\n"
    proof = [bytes([number]) * 32 for number in range(2)]
    lines = request_body(5, proof, note).split(b"\n")
    assert lines[0] == b"old 5"
    assert [base64.b64decode(line) for line in lines[1:3]] == proof
    assert lines[3] == b""
    assert b"\n".join(lines[4:]) == note
    assert request_body(0, [], note) == b"old 0\n\n" + note


def test_more_hashes_than_the_specification_lets_through() -> None:
    request_body(1, [bytes(32)] * 63, b"")
    with pytest.raises(ValueError, match="63"):
        request_body(1, [bytes(32)] * 64, b"")


def test_a_witness_s_key_is_read_and_written() -> None:
    assert KEY.text() == WITNESS.vkey
    assert parse_witness_key(WITNESS.vkey + "\n") == KEY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "witness",
        WITNESS.vkey.replace("+", "+0", 1),
        WITNESS.vkey[:-1],
        WITNESS.vkey + " ",
        "other" + WITNESS.vkey,
        "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",  # a log's, type 01
    ],
)
def test_what_is_no_witness_s_key(text: str) -> None:
    with pytest.raises(NoteError):
        parse_witness_key(text)


def test_a_cosignature_is_taken_from_among_others() -> None:
    assert read(200, LINE) == Answer(Verdict.COSIGNED, line=LINE)
    assert read(200, OTHER.cosignature(TEXT) + LINE + LINE) == Answer(Verdict.COSIGNED, line=LINE)


TURNED = LINE[:-8] + (b"A" if LINE[-8:-7] != b"A" else b"B") + LINE[-7:]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        LINE[:-9],
        TURNED,
        OTHER.cosignature(TEXT),
        WITNESS.cosignature(TEXT.replace(b"\n7\n", b"\n8\n")),
        LINE.replace(b"\xe2\x80\x94", b"-"),
        b"\xff" * 300,
        LINE + b"x" * MAX_ANSWER,
        PaperWitness(time=2**63).cosignature(TEXT),  # readers refuse the whole note (birthmark.proof)
    ],
)
def test_an_answer_without_a_cosignature_that_holds(body: bytes) -> None:
    assert read(200, body).verdict is Verdict.BUSY


@pytest.mark.parametrize(
    ("body", "size"), [(b"0\n", 0), (b"5\n", 5), (b"7", 7), (b"9223372036854775807\n", 2**63 - 1)]
)
def test_another_size_was_seen_last(body: bytes, size: int) -> None:
    assert read(409, body, SIZE_TYPE) == Answer(Verdict.ELSEWHERE, size=size)
    assert read(409, body, SIZE_TYPE + "; charset=utf-8").verdict is Verdict.ELSEWHERE


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"", ""), (b"", SIZE_TYPE), (b"5\n", "text/plain"), (b"-5\n", SIZE_TYPE), (b"05\n", SIZE_TYPE)],
)
def test_another_tree_of_this_size_was_cosigned(body: bytes, kind: str) -> None:
    assert read(409, body, kind).verdict is Verdict.FORKED


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (422, Verdict.FORKED),
        (400, Verdict.REFUSED),
        (403, Verdict.REFUSED),
        (404, Verdict.REFUSED),
        (301, Verdict.BUSY),
        (429, Verdict.BUSY),
        (500, Verdict.BUSY),
        (204, Verdict.BUSY),
        (999, Verdict.BUSY),
    ],
)
def test_other_statuses(status: int, verdict: Verdict) -> None:
    answer = read(status, LINE)  # whatever stands below it
    assert answer.verdict is verdict
    assert answer.detail
    assert not answer.line
