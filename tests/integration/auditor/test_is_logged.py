"""`is-logged` as users type it: by the kept state, by signerd, by a folder of tiles, by a receipt."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from auditor.__main__ import main
from auditor.adapters.enrolment import Installed, install, make_request
from auditor.adapters.tile_files import TileFiles
from auditor.cli import serving
from birthmark.proof.receipt import Receipt
from harness.audit_bench import opened
from harness.paper_certificates import Authority, pem
from harness.paper_log import DEPLOYMENT, ORIGIN, Board, PaperLog, vkey
from harness.paper_server import PaperServer
from harness.paper_succession import succeed
from harness.paper_tiles import files_of, write_tiles

Run = Callable[..., tuple[int, list[dict[str, Any]], str]]
YES, OFF, USAGE, SETTINGS, NOTHING_TOLD, NOT_IN_IT = 0, 1, 2, 3, 4, 7


@dataclass
class Desk:
    """An enrolled auditor, and the log that it verified once: boards stamped, revoked, issued."""

    folder: Path
    log: PaperLog
    boards: list[Board]
    server: PaperServer

    @property
    def config(self) -> str:
        return str(self.folder / "auditor" / "auditor.toml")

    def tiles(self, *, size: int = -1, change: Callable[[bytes], bytes] = lambda data: data) -> str:
        """A folder of tiles. `change`: of a bundle of entries."""
        files = files_of(self.log.entries, size)
        changed = {path: change(data) if "entries" in path else data for path, data in files.items()}
        folder = self.folder / "tiles"
        write_tiles(folder, changed, self.log.checkpoint(size=None if size < 0 else size))
        if self.log.succession:
            (folder / "succession").write_bytes(self.log.succession)
        return str(folder)

    def certificate(self, board: Board, *, der: bool = False) -> str:
        """A file."""
        file = self.folder / ("board.der" if der else "board.pem")
        data = board.record.certificate_der
        issuer = pem(self.log.issuer.certificate)
        file.write_bytes(data if der else _pem(data) + issuer)  # a chain begins with the board's
        return str(file)

    def receipt(self, index: int) -> tuple[str, str]:
        """Files of a receipt and its entry."""
        size = self.log.tree.size
        receipt = Receipt(index, tuple(self.log.tree.inclusion(index, size)), self.log.checkpoint())
        (self.folder / "receipt").write_bytes(receipt.data())
        (self.folder / "entry").write_bytes(self.log.entries[index])
        return str(self.folder / "receipt"), str(self.folder / "entry")

    def vkey(self, log: PaperLog | None = None, *, name: str = ORIGIN) -> str:
        """A pinned key, without any settings."""
        file = self.folder / "log.vkey"
        file.write_text(vkey((log or self.log).log_key, name=name) + "\n", encoding="ascii")
        return str(file)


def _pem(der: bytes) -> bytes:
    return pem(x509.load_der_x509_certificate(der))


@contextmanager
def _enrolled(folder: Path, log: PaperLog) -> Iterator[PaperServer]:
    with PaperServer(log) as server:
        directory = folder / "auditor"
        make_request(directory, deployment=DEPLOYMENT, name="alice")
        key = load_pem_private_key((directory / "auditor.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        given = {
            "certificate": pem(
                server.operations.peer(key, f"birthmark://{DEPLOYMENT}/auditor/alice", server=False)
            ),
            "operations_ca": pem(server.operations.certificate),
            "log_vkey": vkey(log.log_key).encode() + b"\n",
            "device_root": pem(log.root.certificate),
        }
        for name, content in given.items():
            (folder / name).write_bytes(content)
        certificate, operations_ca, log_vkey, device_root = (folder / name for name in given)
        install(directory, Installed(certificate, operations_ca, log_vkey, device_root, server.endpoint))
        yield server


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
        monkeypatch.setattr(sys, "argv", ["birthmark-auditor", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return code, [json.loads(line) for line in said.out.splitlines()], said.err

    return run


@pytest.fixture
def desk(tmp_path: Path, run: Run) -> Iterator[Desk]:
    log = opened(quantity=8)
    boards = [log.issue(number) for number in (1, 2, 3)]
    log.stamp(boards[0])
    log.stamp(boards[1])
    log.revoke(boards[1])
    with _enrolled(tmp_path, log) as server:
        desk = Desk(tmp_path, log, boards, server)
        assert run("verify", "-c", desk.config)[0] == YES
        yield desk


def test_by_the_kept_state(desk: Desk, run: Run) -> None:
    stamped, revoked, issued = desk.boards
    things = [
        desk.certificate(stamped),
        revoked.record.serial_number,
        issued.certificate_sha256,
        ":".join(issued.certificate_sha256[at : at + 2].upper() for at in range(0, 64, 2)),  # openssl's
    ]
    code, lines, said = run("is-logged", *things, "-c", desk.config)
    assert (code, said) == (YES, "")
    assert [line["asked"] for line in lines] == things
    assert [line["state"] for line in lines] == ["stamped", "revoked", "issued", "issued"]
    assert [line["issued_entry"] for line in lines] == [
        board.issued_index for board in (stamped, revoked, issued, issued)
    ]
    assert lines[0] == {
        "event": "certificate",
        "asked": things[0],
        "in_ledger": True,
        "state": "stamped",
        "serial_number": stamped.record.serial_number,
        "chip_id": stamped.record.chip_id,
        "work_order": "WO-1",
        "certificate_sha256": stamped.certificate_sha256,
        "issued_entry": stamped.issued_index,
        "stamped_entry": stamped.record.stamped_index,
        "revoked_entry": None,
        "reason": None,
        "superseded_by": None,
        "tree_size": desk.log.tree.size,
        "whole": True,
    }
    assert run("is-logged", desk.certificate(stamped, der=True), "-c", desk.config)[1][0]["in_ledger"]


def test_what_is_not_in_it_is_told_apart(desk: Desk, run: Run) -> None:
    code, lines, said = run(
        "is-logged", desk.boards[0].record.serial_number, "WO-1-000099", "-c", desk.config
    )
    assert code == NOT_IN_IT
    assert [line["in_ledger"] for line in lines] == [True, False]
    assert "WO-1-000099" in said
    assert f"{desk.log.tree.size} entries" in said


def test_live_reads_what_came_since(desk: Desk, run: Run) -> None:
    later = desk.log.issue(4)
    desk.log.revoke(desk.boards[0])
    things = [later.record.serial_number, desk.boards[0].certificate_sha256]
    code, lines, _ = run("is-logged", *things, "-c", desk.config)
    assert (code, [line["state"] for line in lines]) == (NOT_IN_IT, [None, "stamped"])
    code, lines, _ = run("is-logged", "--live", *things, "-c", desk.config)
    assert (code, [line["state"] for line in lines]) == (YES, ["issued", "revoked"])
    assert {line["tree_size"] for line in lines} == {desk.log.tree.size}
    code, lines, _ = run("is-logged", *things, "-c", desk.config)
    assert (code, [line["state"] for line in lines]) == (NOT_IN_IT, [None, "stamped"])  # nothing was kept


def test_live_believes_no_entry_that_is_not_the_trees(desk: Desk, run: Run) -> None:
    desk.log.revoke(desk.boards[0])
    thing = desk.boards[0].certificate_sha256
    assert run("is-logged", "--live", thing, "-c", desk.config)[1][0]["state"] == "revoked"
    desk.log.lie_entries = lambda entries: [
        *entries[:-1],
        entries[-1].replace(b"keyCompromise", b"cessationOfOper"),
    ]
    code, lines, _ = run("is-logged", "--live", thing, "-c", desk.config)
    assert code == OFF
    assert "certificate" not in {line["event"] for line in lines}


@pytest.mark.parametrize(
    ("lie", "finding"),
    [
        (lambda log: setattr(log, "lie_entries", lambda entries: entries[:-1]), "F106"),
        (lambda log: setattr(log, "lie_checkpoint", lambda _: log.checkpoint(size=3)), "F103"),
        (lambda log: setattr(log, "lie_checkpoint", lambda _: PaperLog().checkpoint()), "F102"),
        (lambda log: setattr(log, "lie_checkpoint", lambda _: b"none"), "F101"),
    ],
    ids=["an entry is kept back", "rolled back", "another log's", "no checkpoint"],
)
def test_live_refuses_what_is_not_the_log(
    desk: Desk, run: Run, lie: Callable[[PaperLog], None], finding: str
) -> None:
    desk.log.revoke(desk.boards[0])
    lie(desk.log)
    code, lines, _ = run("is-logged", "--live", desk.boards[0].certificate_sha256, "-c", desk.config)
    assert (code, [line.get("code") for line in lines]) == (OFF, [finding])


def test_without_signerd_the_state_still_answers_and_live_does_not(desk: Desk, run: Run) -> None:
    desk.server.__exit__(None, None, None)
    thing = desk.boards[0].certificate_sha256
    assert run("is-logged", thing, "-c", desk.config)[0] == YES
    code, lines, said = run("is-logged", "--live", thing, "-c", desk.config)
    assert (code, lines) == (NOTHING_TOLD, [])
    assert "not reachable" in said


def test_before_the_first_run_nothing_is_told(tmp_path: Path, run: Run) -> None:
    log = opened()
    with _enrolled(tmp_path, log) as server:
        desk = Desk(tmp_path, log, [], server)
        for options in ([], ["--live"]):
            code, lines, said = run("is-logged", "WO-1-000001", *options, "-c", desk.config)
            assert (code, lines) == (SETTINGS, [])
            assert "run `birthmark-auditor verify`" in said


def test_a_finding_about_the_board_is_not_passed_over(desk: Desk, run: Run) -> None:
    odd = desk.log.issue(9)  # beyond the order
    assert run("verify", "-c", desk.config)[0] == OFF
    code, lines, _ = run("is-logged", odd.certificate_sha256, "-c", desk.config)
    assert code == OFF
    assert lines[0]["in_ledger"]
    assert {line["event"] for line in lines[1:]} == {"finding"}
    assert run("is-logged", desk.boards[0].certificate_sha256, "-c", desk.config)[0] == YES


# Without signerd, settings and state


def test_by_a_folder_of_tiles(desk: Desk, run: Run) -> None:
    desk.server.__exit__(None, None, None)
    folder, pin = desk.tiles(), desk.vkey()
    things = [desk.certificate(desk.boards[0]), desk.boards[1].record.serial_number]
    code, lines, _ = run("is-logged", *things, "--tiles", folder, "--vkey", pin)
    assert (code, [line["state"] for line in lines]) == (YES, ["stamped", "revoked"])
    assert (lines[1]["reason"], lines[1]["tree_size"]) == ("keyCompromise", desk.log.tree.size)
    code, lines, _ = run("is-logged", "WO-1-000099", "--tiles", folder, "--vkey", pin)
    assert (code, lines[0]["in_ledger"], lines[0]["whole"]) == (NOT_IN_IT, False, True)
    assert run("is-logged", things[0], "--tiles", folder, "-c", desk.config)[0] == YES  # the settings' key


def test_doctored_tiles_tell_nothing(desk: Desk, run: Run) -> None:
    digest = desk.boards[0].certificate_sha256.encode()
    hidden = desk.tiles(change=lambda data: data.replace(digest, b"0" * 64))
    code, lines, said = run("is-logged", digest.decode(), "--tiles", hidden, "--vkey", desk.vkey())
    assert (code, lines) == (OFF, [])
    assert "F107" in said


def test_a_missing_tile_and_a_missing_folder_tell_nothing(desk: Desk, run: Run) -> None:
    folder, pin = Path(desk.tiles()), desk.vkey()
    (bundle,) = (folder / "tile" / "entries").rglob("*.p/*")
    bundle.unlink()
    code, lines, said = run("is-logged", "WO-1-000001", "--tiles", str(folder), "--vkey", pin)
    assert (code, lines) == (NOTHING_TOLD, [])
    assert "is missing" in said
    (folder / "checkpoint").unlink()
    code, _, said = run("is-logged", "WO-1-000001", "--tiles", str(folder), "--vkey", pin)
    assert (code, "--checkpoint" in said) == (SETTINGS, True)
    code, _, said = run("is-logged", "WO-1-000001", "--tiles", str(folder / "none"), "--vkey", pin)
    assert code == SETTINGS


def test_a_checkpoint_beside_the_folder(desk: Desk, run: Run) -> None:
    folder, pin = desk.tiles(), desk.vkey()
    size = desk.boards[2].issued_index
    older = desk.folder / "older"
    older.write_bytes(desk.log.checkpoint(size=size))
    for path, data in files_of(desk.log.entries, size).items():
        (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
        (Path(folder) / path).write_bytes(data)
    thing = desk.boards[2].certificate_sha256
    arguments = ["is-logged", thing, "--tiles", folder, "--vkey", pin]
    assert run(*arguments)[0] == YES
    code, lines, _ = run(*arguments, "--checkpoint", str(older))
    assert (code, lines[0]["tree_size"]) == (NOT_IN_IT, size)
    other = PaperLog()
    other.open_log()
    older.write_bytes(other.checkpoint())
    code, _, said = run(*arguments, "--checkpoint", str(older))
    assert (code, "another log's" in said) == (OFF, True)
    assert run("is-logged", thing, "--tiles", folder, "--vkey", desk.vkey(other))[0] == OFF


def test_by_a_receipt(desk: Desk, run: Run) -> None:
    board = desk.boards[0]
    receipt, entry = desk.receipt(board.issued_index)
    pin, cert = desk.vkey(), desk.certificate(board)
    for source in (["--entry", entry], ["--tiles", desk.tiles()]):
        code, lines, said = run("is-logged", cert, "--receipt", receipt, *source, "--vkey", pin)
        assert (code, lines[0]["state"], lines[0]["issued_entry"]) == (YES, "issued", board.issued_index)
        assert (lines[0]["whole"], "whether others came later" in said) == (False, True)
    other = desk.boards[2].certificate_sha256
    code, lines, said = run("is-logged", other, "--receipt", receipt, "--entry", entry, "--vkey", pin)
    assert (code, lines, "something else" in said) == (OFF, [], True)
    Path(entry).write_bytes(Path(entry).read_bytes() + b"\n")
    code, lines, said = run("is-logged", cert, "--receipt", receipt, "--entry", entry, "--vkey", pin)
    assert (code, lines, "F109" in said) == (OFF, [], True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--live", "--tiles", "x"], "--live asks signerd"),
        (["--receipt", "x"], "wants its entry"),
        (["--receipt", "x", "--entry", "x", "--tiles", "x"], "wants its entry"),
        (["SN-2", "--receipt", "x", "--entry", "x"], "name one"),
        (["--entry", "x"], "--entry goes with --receipt"),
        (["--checkpoint", "x"], "--checkpoint goes with --tiles"),
        (["--vkey", "x"], "--vkey goes with --receipt or --tiles"),
        (["--receipt", "x", "--tiles", "x", "--checkpoint", "x"], "leave out --checkpoint"),
    ],
)
def test_options_that_do_not_go_together(run: Run, arguments: list[str], said: str) -> None:
    code, _, errors = run("is-logged", "SN-1", *arguments)
    assert code == USAGE
    assert said in " ".join(errors.replace("│", "").split())


def test_what_names_no_certificate(tmp_path: Path, run: Run) -> None:
    (tmp_path / "request.pem").write_text("-----BEGIN CERTIFICATE REQUEST-----\n", encoding="ascii")
    (tmp_path / "large.pem").write_bytes(bytes(300_000))
    for thing, complaint in (
        (str(tmp_path / "request.pem"), "neither PEM nor DER"),
        (str(tmp_path / "large.pem"), "larger than"),
        (str(tmp_path / "none.pem"), "there is no file"),
        ("none.crt", "there is no file"),
        ("a serial number", "no serial number of a board"),
        ("x" * 65, "no serial number of a board"),
    ):
        code, _, said = run("is-logged", thing)
        assert (code, complaint in said) == (SETTINGS, True), thing


# A log that lost its end


@dataclass
class Lost:
    """`desk`'s log goes on without the last board. `receipt` and `entry`: of that board, of before."""

    desk: Desk
    left: Board
    gone: Board
    receipt: str
    entry: str


@pytest.fixture
def lost(desk: Desk) -> Lost:
    gone = desk.boards[2]
    receipt, entry = desk.receipt(gone.issued_index)
    succeed(desk.log, desk.server.operations, gone.issued_index)
    return Lost(desk, desk.boards[0], gone, receipt, entry)


def test_after_a_loss_tiles_are_followed_by_the_settings_ca(lost: Lost, run: Run) -> None:
    things = [lost.left.certificate_sha256, lost.gone.certificate_sha256]
    folder = lost.desk.tiles()
    code, lines, said = run("is-logged", *things, "--tiles", folder, "-c", lost.desk.config)
    assert (code, [line["in_ledger"] for line in lines]) == (NOT_IN_IT, [True, False])
    assert "boards that were certified in them are in no count" in said
    code, lines, said = run("is-logged", *things, "--tiles", folder, "--vkey", lost.desk.vkey())
    assert (code, lines) == (OFF, [])
    assert "Take the verifier key of this name from the company" in said
    named = lost.desk.vkey(name=lost.desk.log.origin)
    assert run("is-logged", *things, "--tiles", folder, "--vkey", named)[0] == NOT_IN_IT


def test_a_succession_of_another_ca_is_not_followed(lost: Lost, run: Run) -> None:
    lost.desk.log.entries.pop()
    succeed(lost.desk.log, Authority.root("Other"), lost.gone.issued_index)
    folder = lost.desk.tiles()
    code, lines, said = run(
        "is-logged", lost.left.certificate_sha256, "--tiles", folder, "-c", lost.desk.config
    )
    assert (code, lines) == (OFF, [])
    assert "no operations CA that is trusted signed" in said


def test_a_receipt_of_the_part_that_was_lost(lost: Lost, run: Run) -> None:
    thing, folder = lost.gone.certificate_sha256, lost.desk.tiles()
    code, lines, said = run(
        "is-logged", thing, "--receipt", lost.receipt, "--tiles", folder, "-c", lost.desk.config
    )
    assert (code, lines) == (OFF, [])
    assert "is of the part of the log that was lost" in said
    options = ("--receipt", lost.receipt, "--entry", lost.entry)
    assert run("is-logged", thing, *options, "--vkey", lost.desk.vkey())[0] == YES  # it was signed
    code, _, said = run("is-logged", thing, *options, "--vkey", lost.desk.vkey(name=lost.desk.log.origin))
    assert (code, "the log of before" in said) == (OFF, True)


def test_a_receipt_of_the_successor(lost: Lost, run: Run) -> None:
    thing, folder = lost.left.certificate_sha256, lost.desk.tiles()
    receipt, entry = lost.desk.receipt(lost.left.issued_index)
    by_tiles = run("is-logged", thing, "--receipt", receipt, "--tiles", folder, "-c", lost.desk.config)
    assert by_tiles[0] == YES
    code, _, said = run("is-logged", thing, "--receipt", receipt, "--entry", entry, "-c", lost.desk.config)
    assert (code, "Take the verifier key of this name" in said) == (OFF, True)
    code, _, said = run("receipt", receipt, entry, "-c", lost.desk.config)
    assert (code, "Take the verifier key of this name" in said) == (OFF, True)
    named = lost.desk.vkey(name=lost.desk.log.origin)
    assert run("receipt", receipt, entry, "--vkey", named)[0] == YES


def test_the_state_and_signerd_after_a_loss(lost: Lost, run: Run) -> None:
    thing = lost.gone.certificate_sha256
    code, lines, _ = run("is-logged", thing, "--live", "-c", lost.desk.config)
    assert (code, lines[-1]["code"]) == (OFF, "F112")
    assert "run `verify`" in lines[-1]["detail"]
    assert run("verify", "-c", lost.desk.config)[0] == OFF  # F112
    for options in ([], ["--live"]):
        code, _, said = run("is-logged", thing, *options, "-c", lost.desk.config)
        assert (code, "boards that were certified in them" in said) == (NOT_IN_IT, True)
    out = str(lost.desk.folder / "order.zip")
    assert run("report", "--order", "WO-1", "--out", out, "-c", lost.desk.config)[0] == OFF
    code, lines, _ = run("report", "--verify", out, "-c", lost.desk.config)
    assert (code, lines[-1]["problems"]) == (YES, [])
    assert any("boards that were certified in them" in note for note in lines[-1]["notes"])
    for question in ("orders", "missing", "stations", "chips", "who"):
        code, lines, _ = run(question, "-c", lost.desk.config)
        assert (code, lines[0]["successor"]) == (YES, 2)
    code, lines, _ = run("export", "--out", str(lost.desk.folder / "out"), "-c", lost.desk.config)
    assert (code, lines[-1]["entries"]) == (YES, lost.desk.log.tree.size)
    code, lines, _ = run("doubt", "plant1/pc1", "-c", lost.desk.config)
    assert (code, lines[0]["successor"]) == (YES, 2)


def test_tiles_of_a_successor_are_served(lost: Lost, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[serving.Log] = []

    async def serve(
        _files: TileFiles, _host: str, _port: int, _names: list[str], log: serving.Log, **_: bool
    ) -> None:
        served.append(log)

    monkeypatch.setattr(serving, "_serve", serve)
    folder, named = lost.desk.tiles(), lost.desk.vkey(name=lost.desk.log.origin)
    assert run("serve-tiles", folder, "-c", lost.desk.config)[0] == YES
    assert run("serve-tiles", folder, "--vkey", named)[0] == YES
    assert {(log.origin, log.size) for log in served} == {(lost.desk.log.origin, lost.desk.log.tree.size)}
    code, _, said = run("serve-tiles", folder, "--vkey", lost.desk.vkey())
    assert (code, "Take the verifier key of this name" in said, len(served)) == (OFF, True, 2)
