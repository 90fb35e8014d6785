"""`birthmark-auditor witness` as a process: its cosignatures, its state over kills, callers of every kind."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from birthmark.proof import Checkpoint, cosignatures
from harness.go_witness import built, fed
from harness.process import wait_until
from harness.running_witness import NAME, Log, Witness, command


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    """One of the test's own: starting it takes seconds."""
    made = Witness(tmp_path, Log())
    try:
        yield made
    finally:
        made.process.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    """One of all tests that leave it and its log's newest size as they are."""
    made = Witness(tmp_path_factory.mktemp("shared"), Log())
    try:
        yield made
    finally:
        made.process.stop()


@pytest.mark.check
def test_it_cosigns_what_continues_and_keeps_it_over_restarts(witness: Witness) -> None:
    log, size = witness.log, 0
    for count in (1, 2, 300):
        log.grow(count)
        witness.cosigns(size)
        witness.cosigns(log.tree.size)  # the same again
        size = log.tree.size
        assert witness.size() == size
    assert witness.process.stop() == 0
    witness.start()
    assert witness.post(log.body(0)) == (409, "text/x.tlog.size", f"{size}\n".encode())
    log.grow()
    witness.cosigns(size)
    assert [event["event"] for event in witness.events()] == ["serving", "cosigned"]


@pytest.mark.check
def test_a_tree_that_is_kept_already_is_cosigned_and_not_written_again(witness: Witness) -> None:
    """Whoever has the log's newest note can send it without end."""
    log, database = witness.log, witness.folder / "witness.sqlite"
    log.grow(3)
    witness.cosigns(0)
    written = database.read_bytes()  # its header counts the writes
    witness.cosigns(3)
    assert database.read_bytes() == written
    log.grow()
    witness.cosigns(3)
    assert database.read_bytes() != written


def test_rollback_and_fork_are_refused_and_a_fork_is_told_with_its_note(witness: Witness) -> None:
    log, other = witness.log, Log()
    log.grow(10)
    other.grow(12, b"other")
    witness.cosigns(0)
    shorter = Log()
    shorter.grow(9)
    assert witness.post(shorter.body(10))[0] == 400
    assert witness.post(shorter.body(9))[:2] == (409, "text/x.tlog.size")
    assert witness.post(other.body(10))[0] == 422
    same = Log()
    same.grow(10, b"same")
    assert witness.post(same.body(10)) == (409, "text/plain", b"")
    assert witness.size() == 10
    told = [(event["event"], event["note"]) for event in witness.events() if "note" in event]
    assert told == [("unproven", other.note().decode()), ("fork", same.note().decode())]
    stranger = Log(b"stranger")
    stranger.grow()
    assert witness.post(stranger.body(0))[0] == 403
    log.grow()
    witness.cosigns(10)


@pytest.mark.soak  # it builds a Go program of modules from the network
def test_transparency_dev_s_client_is_answered_as_it_knows_it(witness: Witness, tmp_path: Path) -> None:
    client = built(tmp_path, "./feed")
    if client is None:
        pytest.skip("there is no Go here")
    log, url = witness.log, f"http://127.0.0.1:{witness.port}"
    for old, size in ((0, 1), (1, 2), (2, 7), (7, 255), (255, 256), (256, 258)):
        log.grow(size - log.tree.size)
        proof = log.tree.consistency(old, size) if old else []
        line = fed(client, url, old, log.note(), proof).encode()
        name, root = log.key.verifier.name, log.tree.root()
        assert cosignatures(Checkpoint(name, size, root, log.note() + line), [witness.vkey])
    assert fed(client, url, 7, log.note(), []) == "stale 258\n"
    other = Log()
    other.grow(300, b"other")
    assert "proof" in fed(client, url, 258, other.note(), other.tree.consistency(258, 300))
    same = Log()
    same.grow(258, b"same")
    assert "root" in fed(client, url, 258, same.note(), []).lower()
    stranger = Log(b"stranger")
    stranger.grow()
    assert "signature" in fed(client, url, 0, stranger.note(), [])


@pytest.mark.check
def test_kills_under_load_never_let_it_go_back(witness: Witness) -> None:
    """Whatever it answered is kept: after each kill, the size is at least that of the last cosignature."""
    log, told = witness.log, 0
    for _ in range(8):
        ended = threading.Event()
        timer = threading.Timer(0.15, lambda pid=witness.process.pid: os.kill(pid, signal.SIGKILL))
        timer.start()
        while not ended.is_set():
            log.grow()
            try:
                witness.cosigns(told)
                told = log.tree.size
            except (OSError, http.client.HTTPException):
                ended.set()
        timer.join()
        witness.process.wait()
        witness.start()
        kept = witness.size()
        assert told <= kept <= log.tree.size
        told = kept


@pytest.mark.check
def test_of_two_requests_at_once_from_one_size_one_passes(witness: Witness) -> None:
    log = witness.log
    log.grow(5)
    witness.cosigns(0)
    bodies = []
    for mark in range(8):
        branch = Log()
        branch.grow(5)
        branch.grow(1 + mark, bytes([mark]))
        bodies.append(branch.body(5))
    with ThreadPoolExecutor(8) as threads:
        statuses = sorted(status for status, *_ in threads.map(witness.post, bodies))
    assert statuses == [200, *[409] * 7]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /add-checkpoint HTTP/1.1\r\n\r\n", b"405"),
        (b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"404"),
        (b"POST /add-checkpoint HTTP/1.1\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", b"413"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", b"413"),
        (b"POST /add-checkpoint HTTP/2\r\nContent-Length: 0\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00 hello\r\n\r\n", b"400"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"400"),
        (b"POST /add-checkpoint HTTP/1.1\r\n" + b"X: y\r\n" * 4_000 + b"\r\n", b""),  # it hangs up
    ],
)
def test_what_is_no_request_is_answered_and_harms_nobody(shared: Witness, raw: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), timeout=30) as line:
        try:
            line.sendall(raw)
            said = line.recv(1_000)
        except ConnectionError:
            said = b""
    assert said.partition(b" ")[2][:3] == status
    shared.cosigns_the_next()


def test_connections_beyond_the_bound_are_closed_and_the_rest_served(shared: Witness) -> None:
    idle = [socket.create_connection(("127.0.0.1", shared.port), timeout=30) for _ in range(64)]
    try:
        with socket.create_connection(("127.0.0.1", shared.port), timeout=30) as more:
            assert more.recv(1) == b""
    finally:
        for line in idle:
            line.close()
    size = shared.log.tree.size
    shared.log.grow()
    wait_until(lambda: shared.post(shared.log.body(size))[0] == 200, "it serves again", timeout_s=30)


@pytest.mark.check
def test_a_further_key_of_the_log_counts_at_once(witness: Witness, tmp_path: Path) -> None:
    successor = Log(b"successor")
    successor.grow(3)
    assert witness.post(successor.body(0))[0] == 403
    vkey = tmp_path / "second.vkey"
    vkey.write_text(successor.key.verifier.text(), encoding="ascii")
    command("add-log", vkey, "--dir", witness.folder)
    assert witness.post(successor.body(0))[0] == 200


@pytest.mark.check
def test_a_folder_that_is_not_whole_is_refused(witness: Witness, tmp_path: Path) -> None:
    run = ("run", "--listen", "127.0.0.1:0", "--dir")
    assert "witness's folder" in command(*run, tmp_path / "nowhere", expect=3)
    assert "not empty" in command("init", "--name", NAME, "--dir", witness.folder, expect=3)
    assert "--name" in command("init", "--name", "a b", "--dir", tmp_path / "new", expect=3)
    witness.process.stop()
    database = (witness.folder / "witness.sqlite").read_bytes()
    (witness.folder / "witness.sqlite").unlink()
    assert "make a new one" in command(*run, witness.folder, expect=3)  # never an empty state under its key
    (witness.folder / "witness.sqlite").write_bytes(database)
    command("init", "--name", NAME, "--dir", tmp_path / "other")
    key = (tmp_path / "other" / "witness.key").read_bytes()
    (witness.folder / "witness.key").write_bytes(key)
    assert "two witnesses" in command(*run, witness.folder, expect=3)
    assert (witness.folder / "witness.key").stat().st_mode & 0o777 == 0o600


def test_another_address_than_this_machine_s_wants_tls(shared: Witness) -> None:
    said = command("run", "--listen", "0.0.0.0:0", "--dir", shared.folder, expect=3)
    assert "--tls-certificate" in said


@pytest.mark.check
def test_over_tls(witness: Witness, tmp_path: Path) -> None:
    witness.process.stop()
    made = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    files = ("-keyout", str(tmp_path / "tls.key"), "-out", str(tmp_path / "tls.pem"))
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run(["openssl", *made, *files, *name], check=True, capture_output=True, timeout=60)
    witness.start("--tls-certificate", str(tmp_path / "tls.pem"), "--tls-key", str(tmp_path / "tls.key"))
    witness.log.grow()
    trusted = ssl.create_default_context(cafile=tmp_path / "tls.pem")
    line = http.client.HTTPSConnection("127.0.0.1", witness.port, context=trusted, timeout=30)
    line.request("POST", "/add-checkpoint", witness.log.body(0))
    assert line.getresponse().status == 200
    line.close()
