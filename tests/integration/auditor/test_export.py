"""The verified ledger as files: from any source the same, few calls, and whole after a crash anywhere."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from auditor.adapters import client
from auditor.adapters.export import POSITION, Export, Exported
from auditor.adapters.export_folder import ExportFolder
from auditor.adapters.state import SqliteState
from auditor.adapters.tile_log import TileLog
from auditor.adapters.workers import Workers
from auditor.errors import ConfigError, NotFound
from auditor.ports import Log
from auditor.verify import Audit
from birthmark.v1 import audit_pb2
from harness.audit_bench import LATER, Bench, bench, opened, pinned
from harness.paper_certificates import new_key, spki
from harness.paper_log import PaperLog, honest
from harness.paper_server import PaperService
from harness.paper_tiles import files_of, write_tiles

BOARDS, PAGE = 140, 20


class _Counting(PaperService):
    """Counts the calls."""

    def __init__(self, log: PaperLog) -> None:
        super().__init__(log)
        self.calls: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if not name[0].isupper():
            return found

        def counted(request: Any, context: Any) -> Any:
            self.calls[name] += 1
            return found(request, context)

        return counted


class _Died(Exception):  # noqa: N818 (the process died here)
    pass


@pytest.fixture(scope="module")
def log() -> PaperLog:
    """Boards with their stamps."""
    made = opened(quantity=BOARDS)
    made.personalize(BOARDS)
    for number in range(1, BOARDS + 1):
        made.stamp(made.issue(number))
    return made


@pytest.fixture(autouse=True)
def _honest(log: PaperLog) -> Iterator[None]:
    """After a test in which it lied."""
    yield
    for name in ("lie_entries", "lie_records", "lie_product"):
        setattr(log, name, honest)


@pytest.fixture
def service(log: PaperLog) -> _Counting:
    return _Counting(log)


@pytest.fixture
def made(
    log: PaperLog, service: _Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """Verified."""
    monkeypatch.setattr(client, "PAGE_SIZE", PAGE)
    with bench(log, tmp_path / "state", service) as verified:
        assert verified.verify().clean
        service.calls.clear()
        yield verified


def _export(made: Bench, folder: Path, log: Log | None = None) -> Exported:
    with Workers(1, None) as judges:
        return Export(
            log or made.grpc_log,
            made.state,
            pinned(made.log),
            judges,
            ExportFolder(folder),
            lambda _phase, _done, _total: None,
        ).run()


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_certificates_and_tiles_are_written(made: Bench, tmp_path: Path) -> None:
    done = _export(made, tmp_path / "out")
    assert (done.entries, done.certificates, done.findings) == (len(made.log.entries), BOARDS, ())
    files = _files(tmp_path / "out")
    expected = files_of(made.log.entries) | {"checkpoint": made.log.checkpoint()}
    assert {name: data for name, data in files.items() if name.startswith(("tile", "checkpoint"))} == expected
    pems = [data for name, data in files.items() if name.startswith("certificates/")]
    assert len(pems) == BOARDS
    chain, root = (x509.load_pem_x509_certificate(files[name]) for name in ("chain.pem", "root.pem"))
    chain.verify_directly_issued_by(root)
    for pem in pems:
        certificate = x509.load_pem_x509_certificate(pem)
        certificate.verify_directly_issued_by(chain)
        assert certificate.public_bytes(Encoding.PEM) == pem


def test_no_call_a_board_is_made(made: Bench, service: _Counting, tmp_path: Path) -> None:
    _export(made, tmp_path / "out")
    bundles = -(-len(made.log.entries) // 256)
    assert service.calls["FindRecords"] == -(-BOARDS // PAGE)
    assert service.calls["GetRecord"] <= 1  # for the issuer's chain
    assert service.calls["StreamEntries"] <= 2 * bundles
    assert service.calls["GetInclusionProof"] == 0


def test_tiles_give_the_same_entries(made: Bench, tmp_path: Path) -> None:
    write_tiles(tmp_path / "tiles", files_of(made.log.entries), made.log.checkpoint())
    _export(made, tmp_path / "by signerd")
    done = _export(made, tmp_path / "by tiles", TileLog(str(tmp_path / "tiles")))
    assert (done.entries, done.certificates, done.findings) == (len(made.log.entries), 0, ())
    by_signerd = _files(tmp_path / "by signerd")
    of_entries = {name for name in by_signerd if name.startswith(("tile", "checkpoint", "root.pem"))}
    assert _files(tmp_path / "by tiles") == {name: by_signerd[name] for name in of_entries}


def test_an_export_is_a_log_that_can_be_verified(made: Bench, tmp_path: Path) -> None:
    _export(made, tmp_path / "out")
    with SqliteState.open(tmp_path / "other") as state, Workers(1, None) as judges:
        report = Audit(
            TileLog(str(tmp_path / "out")),
            state,
            pinned(made.log),
            clock=lambda: LATER,
            progress=lambda _phase, _done, _total: None,
            judges=judges,
        ).run()
    assert report.clean
    assert report.totals == made.verify().totals


def test_a_second_export_asks_for_what_is_new_alone(made: Bench, service: _Counting, tmp_path: Path) -> None:
    _export(made, tmp_path / "out")
    before = _files(tmp_path / "out")
    service.calls.clear()
    assert _export(made, tmp_path / "out").certificates == BOARDS
    assert _files(tmp_path / "out") == before
    assert dict(service.calls) == {"FindRecords": 1, "GetWorkOrder": 1}


def _dying(at: int) -> Callable[[Path, Path], None]:
    """`Path.replace` of a process that dies at its call of this number, from 0."""
    replace, left = Path.replace, at

    def dying(source: Path, target: Path) -> None:
        nonlocal left
        if left == 0:
            if at % 2:
                target.write_bytes(b"")
            raise _Died
        left -= 1
        replace(source, target)

    return dying


@pytest.mark.check
def test_a_crash_at_any_write_is_made_good(
    made: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each write: before the file is in its place, and as a power cut leaves it, empty."""
    _export(made, tmp_path / "whole")
    whole = _files(tmp_path / "whole")
    places = [at for at in range(len(whole) + BOARDS // PAGE) if at < 8 or at % 20 == 0]
    for at in places:
        folder = tmp_path / str(at)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", _dying(at))
            try:
                _export(made, folder)
            except _Died:
                pass
            else:
                assert at == places[-1]
        done = _export(made, folder)
        assert (done.entries, done.certificates) == (len(made.log.entries), BOARDS)
        files = _files(folder)
        assert {name: data for name, data in files.items() if not name.endswith(".part")} == whole, at


def test_a_broken_off_run_goes_on_where_it_was(
    made: Bench, service: _Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, put = tmp_path / "out", ExportFolder.put

    def dying(self: ExportFolder, name: str, data: bytes) -> None:
        if name.endswith(f"{BOARDS - 5:06d}.pem"):
            raise _Died
        put(self, name, data)

    with monkeypatch.context() as patched:
        patched.setattr(ExportFolder, "put", dying)
        with pytest.raises(_Died):
            _export(made, folder)
    service.calls.clear()
    assert _export(made, folder).certificates == BOARDS
    assert (service.calls["FindRecords"], service.calls["GetRecord"]) == (1, 0)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\n", b"another"])
def test_what_is_not_the_ledgers_is_written_anew(made: Bench, tmp_path: Path, content: bytes) -> None:
    _export(made, tmp_path / "out")
    whole = _files(tmp_path / "out")
    for name in ("certificates/WO-1-000007.pem", "tile/0/000", "tile/entries/000", "chain.pem"):
        (tmp_path / "out" / name).write_bytes(content)
    assert _export(made, tmp_path / "out").certificates == BOARDS
    assert _files(tmp_path / "out") == whole


def test_a_position_of_another_log_is_not_believed(made: Bench, service: _Counting, tmp_path: Path) -> None:
    _export(made, tmp_path / "out")
    whole = _files(tmp_path / "out")
    position = json.loads(whole[POSITION])
    for changed in ({"first": "00" * 32}, {"chains": [["00"]]}, {"record_id": "1"}, {"origin": "other"}):
        (tmp_path / "out" / POSITION).write_text(json.dumps(position | changed))
        service.calls.clear()
        assert _export(made, tmp_path / "out").certificates == BOARDS
        assert service.calls["FindRecords"] == -(-BOARDS // PAGE)
        assert _files(tmp_path / "out") == whole


def test_nothing_is_exported_before_it_is_verified(log: PaperLog, tmp_path: Path) -> None:
    with bench(log, tmp_path / "empty") as unverified, pytest.raises(NotFound, match="run `verify` first"):
        _export(unverified, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_told(made: Bench, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(ConfigError, match="may read and write"):
        _export(made, tmp_path / "out")


def _without(records: list[Any]) -> list[Any]:
    return [record for record in records if record.number != 7]


def _exchanged(records: list[Any]) -> list[Any]:
    """Record 7 with the certificate of another board."""
    made = [audit_pb2.Record.FromString(record.SerializeToString()) for record in records]
    made[6].certificate_der = made[7].certificate_der
    return made


@pytest.mark.parametrize(
    ("lie", "code"), [(_without, "RECORD_MISSING"), (_exchanged, "RECORD_MISSING")], ids=["none", "another"]
)
def test_a_certificate_that_does_not_hold_is_told_in_each_run(
    made: Bench, tmp_path: Path, lie: Any, code: str
) -> None:
    made.log.lie_records = lie
    for _ in range(2):
        done = _export(made, tmp_path / "out")
        assert (done.certificates, [found.code.name for found in done.findings]) == (BOARDS - 1, [code])
        assert not (tmp_path / "out/certificates/WO-1-000007.pem").exists()
    made.log.lie_records = honest
    assert _export(made, tmp_path / "out").certificates == BOARDS


def test_an_entry_that_is_another_one_now_is_told_and_not_written(made: Bench, tmp_path: Path) -> None:
    made.log.lie_entries = lambda entries: [*entries[:20], b"{}", *entries[21:]]
    done = _export(made, tmp_path / "out")
    assert "ENTRY_NOT_IN_TREE" in {found.code.name for found in done.findings}
    assert not (tmp_path / "out/tile/entries/000").exists()
    assert (tmp_path / "out/tile/entries").is_dir()


def test_an_order_whose_product_file_is_another_one_has_no_certificates(made: Bench, tmp_path: Path) -> None:
    made.log.lie_product = lambda text: text + "\n"
    done = _export(made, tmp_path / "out")
    assert (done.certificates, [found.code.name for found in done.findings]) == (0, ["PRODUCT_FILE"])


def test_of_a_board_with_two_certificates_the_last_one_is_written(tmp_path: Path) -> None:
    log = opened(reissue="always")
    first, key = log.issue(1), new_key()
    log.stamp(first)
    with bench(log, tmp_path / "state") as made:
        made.verify()
        _export(made, tmp_path / "out")
        file = tmp_path / "out/certificates/WO-1-000001.pem"
        before = file.read_bytes()
        log.revoke(first, reason="superseded", superseded_by=sha256(spki(key)).hexdigest())
        second = log.issue(1, key=key, supersedes=first.certificate_sha256)
        assert made.verify().clean
        assert _export(made, tmp_path / "out").certificates == 1
        assert file.read_bytes() != before
        again = _export(made, tmp_path / "again")
        assert (again.certificates, (tmp_path / "again/certificates/WO-1-000001.pem").read_bytes()) == (
            1,
            file.read_bytes(),
        )
    written = x509.load_pem_x509_certificate(file.read_bytes())
    assert written.public_bytes(Encoding.DER) == second.record.certificate_der
