"""Is this certificate in the ledger: by entries, by tiles, by a receipt. No server, no file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from hashlib import sha256

import pytest

from auditor import logged
from auditor.core.codes import Code
from auditor.core.cosigners import Cosigners
from auditor.core.proofs import parse_vkey
from auditor.core.standing import Search, Standing, Subject, of_entry
from auditor.errors import CheckFailed, Malformed, Unreachable
from auditor.logged import Answers
from birthmark.proof.receipt import Receipt
from harness.paper_log import Board, PaperLog, vkey
from harness.paper_tiles import files_of
from harness.paper_witness import PaperWitness

NOBODY = Cosigners()


@cache
def _log() -> tuple[PaperLog, dict[str, Board]]:
    """Boards stamped, revoked and only issued; and one that got another certificate in place of its first."""
    log = PaperLog()
    log.open_log()
    log.add_station()
    log.add_product()
    log.personalize(10)
    log.open_order(reissue="always")
    boards = {"stamped": log.issue(1), "revoked": log.issue(2), "issued": log.issue(3), "first": log.issue(4)}
    log.stamp(boards["stamped"])
    log.stamp(boards["revoked"])
    log.revoke(boards["revoked"])
    log.revoke(boards["first"], reason="superseded", superseded_by="00" * 32)
    first = boards["first"]
    boards["second"] = log.issue(4, chip=first.record.chip_id, supersedes=first.certificate_sha256)
    log.stamp(boards["second"])
    return log, boards


def _digest(name: str) -> bytes:
    return bytes.fromhex(_log()[1][name].certificate_sha256)


def _certificate(name: str) -> Subject:
    return Subject(name, _digest(name), None)


def _board(serial_number: str) -> Subject:
    return Subject(serial_number, None, serial_number)


def _search(*subjects: Subject) -> list[tuple[Standing, ...]]:
    search = Search(subjects)
    for index, data in enumerate(_log()[0].entries):
        search.take(index, data)
    return [answer.standings for answer in search.answers()]


def _index(kind: str, name: str) -> int:
    """Of the one entry of this type about this certificate."""
    digest = _digest(name).hex().encode()
    found = [
        index
        for index, data in enumerate(_log()[0].entries)
        if b'"type":"%s"' % kind.encode() in data and b'"certificate_sha256":"%s"' % digest in data
    ]
    (index,) = found
    return index


@pytest.mark.parametrize("name", ["issued", "stamped", "revoked", "first", "second"])
def test_each_certificate_is_found_where_it_is(name: str) -> None:
    ((found,),) = _search(_certificate(name))
    states = {"first": "superseded", "second": "stamped"}
    assert found.state == states.get(name, name)
    assert found.issued_index == _index("issued", name)
    assert found.stamped_index == (_index("stamped", name) if name not in {"issued", "first"} else None)
    assert found.revoked_index == (_index("revoked", name) if name in {"revoked", "first"} else None)
    assert found.reason == {"revoked": "keyCompromise", "first": "superseded"}.get(name)
    assert found.superseded_by == (_digest("second") if name == "first" else None)


def test_a_board_has_all_of_its_certificates() -> None:
    ((first, second),) = _search(_board("WO-1-000004"))
    assert (first.certificate_sha256, second.certificate_sha256) == (_digest("first"), _digest("second"))


def test_answers_come_in_the_order_of_the_questions() -> None:
    answers = _search(_board("WO-1-000003"), _board("WO-1-000099"), _certificate("stamped"))
    assert [[one.state for one in answer] for answer in answers] == [["issued"], [], ["stamped"]]


def test_what_is_not_there_is_not_found() -> None:
    other = bytes([_digest("issued")[0] ^ 1]) + _digest("issued")[1:]
    assert _search(Subject("other", other, None), _board("WO-1-00000"), _board("wo-1-000003")) == [(), (), ()]


def test_64_digits_are_a_digest_and_else_a_serial_number() -> None:
    digest = _digest("issued")
    assert _search(Subject("both", digest, digest.hex())) == _search(_certificate("issued"))
    assert _search(Subject("both", bytes(32), "WO-1-000003")) == _search(_board("WO-1-000003"))


def test_a_revoked_certificate_whose_board_has_none_after_it_is_not_superseded() -> None:
    ((found,),) = _search(_certificate("revoked"))
    assert (found.state, found.superseded_by) == ("revoked", None)


def test_what_was_known_goes_on_with_later_entries() -> None:
    log, _ = _log()
    known = Standing(_digest("issued"), "WO-1-000003", "chip-WO-1-3", "WO-1", _index("issued", "issued"))
    search = Search([_certificate("issued")], [known])
    again = log.entries[_index("issued", "issued")]
    search.take(len(log.entries), again)  # the first one counts
    (answer,) = search.answers()
    assert answer.standings == (known,)


def test_an_entry_that_speaks_of_it_and_is_none_is_said() -> None:
    data = _log()[0].entries[_index("issued", "issued")]
    for wrong in (re.sub(rb'"v":\d', b'"v":99', data), data[:-1]):
        assert wrong != data
        with pytest.raises(CheckFailed):
            Search([_certificate("issued")]).take(7, wrong)
        Search([_certificate("stamped")]).take(7, wrong)  # of no concern


# By tiles


def _from_tiles(
    *subjects: Subject,
    change: Callable[[dict[str, bytes]], dict[str, bytes]] = lambda files: files,
    checkpoint: bytes = b"",
    key: str = "",
    cosigners: Cosigners = NOBODY,
) -> Answers:
    log, _ = _log()
    pinned = parse_vkey(key or vkey(log.log_key))
    files = change(files_of(log.entries))
    return logged.from_tiles(
        files.get,
        checkpoint or log.checkpoint(),
        logged.Held(pinned),
        cosigners,
        subjects,
        lambda _phase, _done, _total: None,
    )


def test_tiles_tell_what_entries_tell() -> None:
    subjects = [_certificate("first"), _board("WO-1-000002"), _board("WO-1-000099")]
    found = _from_tiles(*subjects)
    assert [answer.standings for answer in found.answers] == _search(*subjects)
    assert (found.tree_size, found.whole) == (_log()[0].tree.size, True)


def test_tiles_of_an_older_checkpoint_tell_what_was_so_then() -> None:
    log, _ = _log()
    size = _index("revoked", "first")
    found = _from_tiles(
        _certificate("first"),
        change=lambda _files: files_of(log.entries[:size]),
        checkpoint=log.checkpoint(size=size),
    )
    assert [one.state for one in found.answers[0].standings] == ["issued"]
    assert found.tree_size == size


def _bundle(files: dict[str, bytes], old: bytes, new: bytes) -> dict[str, bytes]:
    (path,) = [name for name in files if "entries" in name]
    assert files[path].count(old) >= 1
    assert len(old) == len(new)
    return files | {path: files[path].replace(old, new)}


def test_a_revocation_taken_out_of_the_tiles_is_noticed() -> None:
    def change(files: dict[str, bytes]) -> dict[str, bytes]:
        return _bundle(files, b'"type":"revoked"', b'"type":"stamped"')

    with pytest.raises(CheckFailed):
        _from_tiles(_certificate("revoked"), change=change)
    with pytest.raises(CheckFailed) as raised:  # nobody asked for the one that was changed
        _from_tiles(_certificate("issued"), change=change)
    assert raised.value.code is Code.ENTRY_NOT_IN_TREE


def test_a_digest_changed_in_the_tiles_does_not_hide_a_certificate() -> None:
    digest = _digest("issued").hex().encode()
    other = b"1" if digest.startswith(b"0") else b"0"
    with pytest.raises(CheckFailed) as raised:
        _from_tiles(_certificate("issued"), change=lambda files: _bundle(files, digest, other + digest[1:]))
    assert raised.value.code is Code.ENTRY_NOT_IN_TREE


def test_a_bundle_that_is_cut_is_malformed() -> None:
    with pytest.raises(Malformed):
        _from_tiles(
            _certificate("issued"), change=lambda files: {path: data[:-1] for path, data in files.items()}
        )


def test_a_tile_that_is_missing_tells_nothing() -> None:
    with pytest.raises(Unreachable, match="is missing"):
        _from_tiles(_certificate("issued"), change=lambda _files: {})


def test_a_checkpoint_of_another_log_or_key_is_refused() -> None:
    other = PaperLog()
    assert other.open_log() == 0
    with pytest.raises(CheckFailed, match="another log's, or of a newer key") as raised:
        _from_tiles(_certificate("issued"), checkpoint=other.checkpoint())
    assert raised.value.code is Code.CHECKPOINT_SIGNATURE
    with pytest.raises(CheckFailed, match="--vkey"):
        _from_tiles(_certificate("issued"), key=vkey(other.log_key))
    with pytest.raises(Malformed):
        _from_tiles(_certificate("issued"), checkpoint=b"no checkpoint")


# By a receipt


def _receipt(index: int, checkpoint: bytes = b"") -> bytes:
    log, _ = _log()
    size = log.tree.size
    return Receipt(index, tuple(log.tree.inclusion(index, size)), checkpoint or log.checkpoint()).data()


def _from_receipt(
    index: int,
    subject: Subject,
    *,
    entry: bytes | None = None,
    receipt: bytes | None = None,
    cosigners: Cosigners = NOBODY,
) -> Answers:
    log, _ = _log()
    data = log.entries[index] if entry is None else entry
    return logged.from_receipt(
        _receipt(index) if receipt is None else receipt,
        lambda _index, _size: data,
        logged.Held(parse_vkey(vkey(log.log_key))),
        cosigners,
        subject,
    )


@pytest.mark.parametrize(
    ("kind", "name", "state"),
    [("issued", "stamped", "issued"), ("stamped", "stamped", "stamped"), ("revoked", "first", "revoked")],
)
def test_a_receipt_shows_its_one_entry(kind: str, name: str, state: str) -> None:
    index = _index(kind, name)
    found = _from_receipt(index, _certificate(name))
    ((standing,),) = [answer.standings for answer in found.answers]
    assert (standing.state, standing.certificate_sha256) == (state, _digest(name))
    shown = (standing.issued_index, standing.stamped_index, standing.revoked_index)
    assert shown == tuple(index if each == kind else None for each in ("issued", "stamped", "revoked"))
    assert (found.whole, found.tree_size) == (False, _log()[0].tree.size)


def test_a_receipt_of_a_board_by_its_serial_number() -> None:
    assert _from_receipt(_index("issued", "issued"), _board("WO-1-000003")).answers[0].standings


@pytest.mark.parametrize("index", [0, 4])
def test_a_receipt_of_an_entry_about_no_certificate_shows_none(index: int) -> None:
    with pytest.raises(CheckFailed, match="something else"):
        _from_receipt(index, _certificate("issued"))


def test_a_receipt_of_another_certificate_is_said() -> None:
    with pytest.raises(CheckFailed, match="something else") as raised:
        _from_receipt(_index("issued", "stamped"), _certificate("issued"))
    assert (raised.value.expected, raised.value.found) == ("issued", "board WO-1-000001")


def test_a_doctored_receipt_or_entry_proves_nothing() -> None:
    index, log = _index("issued", "issued"), _log()[0]
    entry = log.entries[index].replace(b"WO-1-000003", b"WO-1-000002")
    with pytest.raises(CheckFailed) as raised:
        _from_receipt(index, _board("WO-1-000002"), entry=entry)
    assert raised.value.code is Code.NOT_INCLUDED
    wrong = _receipt(index).replace(b"\nindex %d\n" % index, b"\nindex %d\n" % (index + 1))
    with pytest.raises(CheckFailed) as raised:
        _from_receipt(index, _certificate("issued"), receipt=wrong)
    assert raised.value.code is Code.NOT_INCLUDED
    with pytest.raises(Malformed):
        _from_receipt(index, _certificate("issued"), receipt=b"")


def test_a_receipt_takes_its_entry_from_tiles() -> None:
    log, index = _log()[0], _index("issued", "issued")
    files, key = files_of(log.entries), logged.Held(parse_vkey(vkey(log.log_key)))
    subject = _certificate("issued")
    found = logged.from_receipt(_receipt(index), logged.entry_of_tiles(files.get), key, NOBODY, subject)
    assert found == _from_receipt(index, subject)
    with pytest.raises(Unreachable):
        logged.from_receipt(_receipt(index), logged.entry_of_tiles(lambda _path: None), key, NOBODY, subject)
    doctored = _bundle(files, b"WO-1-000003", b"WO-1-000002")
    with pytest.raises(CheckFailed):
        logged.from_receipt(_receipt(index), logged.entry_of_tiles(doctored.get), key, NOBODY, subject)


def test_witnesses_that_are_demanded_have_to_have_cosigned() -> None:
    log, index = _log()[0], _index("issued", "issued")
    witness, subject = PaperWitness(), _certificate("issued")
    asked = Cosigners.of([witness.vkey], 1)
    bare = log.checkpoint()
    cosigned = bare + witness.cosignature(bare.rpartition(b"\n\n")[0] + b"\n")
    assert _from_tiles(subject, checkpoint=cosigned, cosigners=asked).answers[0].standings
    assert _from_receipt(index, subject, receipt=_receipt(index, cosigned), cosigners=asked).tree_size
    with pytest.raises(CheckFailed, match="0 of 1 witnesses") as raised:
        _from_tiles(subject, checkpoint=bare, cosigners=asked)
    assert raised.value.code is Code.NOT_COSIGNED
    with pytest.raises(CheckFailed, match="0 of 1 witnesses"):
        _from_receipt(index, subject, cosigners=asked)


def test_of_entry_reads_strictly() -> None:
    data = _log()[0].entries[_index("issued", "issued")]
    found = of_entry(7, data)
    assert found is not None
    assert found == replace(found, issued_index=7)
    assert sha256(data).digest() != found.certificate_sha256
    with pytest.raises(CheckFailed):
        of_entry(7, data + b" ")
