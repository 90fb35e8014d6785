"""A line that a person has to mend, by the real programs: one verdict on the terminal, and nothing of gRPC's.

One installation for all of it. Each row changes one thing of a station that passes boards.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from harness import moved_time
from harness.factory import Factory, Run
from harness.moved_time import MovedTime
from harness.process import COMMANDS, wait_until
from harness.terminal import Terminal

pytestmark = pytest.mark.check
# What gRPC's core and Abseil write by themselves, and a Python that died.
FOREIGN = re.compile(r"^[EWIF]0?\d{3,8} |ssl_transport|grpc|absl::|Traceback", re.IGNORECASE | re.MULTILINE)
MEND_THE_STATION = 3
CLOCKS = 1  # a time service may set them: who starts the station again may try


@pytest.fixture(name="run", scope="module")
def plug_in(factory: Factory) -> Run:
    """A board that waits for its station to be right."""
    return factory.new_run(boards=1)


def on_a_terminal(run: Run, environment: dict[str, str] | None = None, port: str | None = None) -> Terminal:
    command: list[str | Path] = [COMMANDS / "birthmark-agent", "run", "--config", run.station.config]
    options = ["--order", run.work_order, "--count", "1", "--port", port or run.farm.ports[0]]
    return Terminal([*command, *options], environment)


@contextmanager
def changed(path: Path, new: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(new)
    try:
        yield
    finally:
        path.write_bytes(before)


def refused(
    run: Run,
    detail: str,
    remedy: str,
    environment: dict[str, str] | None = None,
    *,
    ends_with: int = MEND_THE_STATION,
) -> None:
    with on_a_terminal(run, environment) as terminal:
        code = terminal.wait()
    text = " ".join(terminal.text.split())
    assert code == ends_with, (code, terminal.text)
    assert (text.count(detail), text.count(remedy)) == (1, 1), terminal.text
    assert not FOREIGN.search(terminal.text), terminal.text
    assert "Summary" not in text, terminal.text  # of no board, before the one line that matters


def expired(factory: Factory, held: bytes) -> bytes:
    """The station's certificate, of yesterday, signed by the operations CA."""
    before = x509.load_pem_x509_certificate(held)
    folder = factory.installation.home / "operations"
    ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    key = load_pem_private_key((folder / "ca.key").read_bytes(), None)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(before.subject)
        .issuer_name(ca.subject)
        .public_key(before.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now - timedelta(days=1))
    )
    for extension in before.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)  # type: ignore[arg-type]


def test_an_expired_certificate(factory: Factory, run: Run) -> None:
    file = run.station.directory / "station.pem"
    with changed(file, expired(factory, file.read_bytes())):
        refused(run, "the station's certificate ended ", "birthmark-agent renew")


@pytest.mark.skipif(moved_time.missing() is not None, reason=str(moved_time.missing()))
@pytest.mark.parametrize(
    ("ahead", "detail", "code"),
    [
        (timedelta(hours=3), "signerd's clock is 3 h behind this PC's", CLOCKS),
        (timedelta(days=7300), "(it is 20", MEND_THE_STATION),  # the station's certificate has ended by then
    ],
)
def test_a_clock_that_is_ahead(run: Run, tmp_path: Path, ahead: timedelta, detail: str, code: int) -> None:
    time = MovedTime(tmp_path)
    time.move_by(ahead)
    site = str(Path(moved_time.__file__).with_name("moved_time_site"))
    environment = {**time.environment, "PYTHONPATH": site}
    refused(run, detail, "timedatectl set-ntp true", environment, ends_with=code)


class Forwarder:
    """signerd at another address, or what a wrong cable leads to: each connection goes to `target`."""

    def __init__(self, target: str, host: str) -> None:
        self.target = target
        self._lines: list[socket.socket] = []
        self._server = socket.create_server((host, 0))
        self.address = f"{host}:{self._server.getsockname()[1]}"
        threading.Thread(target=self._take, daemon=True).start()

    def cut(self) -> None:
        """All connections of now."""
        lines, self._lines = self._lines, []
        for line in lines:
            _end(line)

    def _take(self) -> None:
        while True:
            try:
                here, _ = self._server.accept()
            except OSError:
                return
            host, _, port = self.target.rpartition(":")
            there = socket.create_connection((host, int(port)))
            self._lines += [here, there]
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=_pass, args=(one, other), daemon=True).start()

    def close(self) -> None:
        self._server.close()
        self.cut()


def _pass(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(65_536):
            other.sendall(data)
    except OSError:
        pass
    finally:
        _end(one)
        _end(other)


def _end(line: socket.socket) -> None:
    with suppress(OSError):  # ended already
        line.shutdown(socket.SHUT_RDWR)


def moved(run: Run, factory: Factory, address: str) -> bytes:
    text = run.station.config.read_text(encoding="utf-8")
    assert factory.installation.target in text
    return text.replace(factory.installation.target, address).encode()


def test_a_server_of_another_name(factory: Factory, run: Run) -> None:
    with (
        closing(Forwarder(factory.installation.target, "127.0.0.2")) as there,
        changed(run.station.config, moved(run, factory, there.address)),
    ):
        detail = "signerd's certificate does not have the name 127.0.0.2: it has "
        refused(run, detail, "signerd server renew --name 127.0.0.2")


class Impostor:
    """Speaks TLS, and is of no CA that the station knows."""

    def __init__(self, directory: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name, now = x509.Name([]), datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
            .sign(key, hashes.SHA256())
        )
        form = PrivateFormat.PKCS8, NoEncryption()
        pem = certificate.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, *form)
        (directory / "impostor.pem").write_bytes(pem)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(directory / "impostor.pem")
        context.set_alpn_protocols(["h2"])
        self.seen = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._take, args=(context,), daemon=True).start()

    def _take(self, context: ssl.SSLContext) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            with suppress(OSError), context.wrap_socket(line, server_side=True):
                pass
            self.seen += 1

    def close(self) -> None:
        self._server.close()


def checks_in(log: Path) -> int:
    """How often signerd was asked whether a station may work."""
    return log.read_text(encoding="utf-8").count('"CheckStation"')


def test_another_ca_behind_the_address_of_a_station_that_runs(
    factory: Factory, run: Run, tmp_path: Path
) -> None:
    """Where gRPC tries again and again, and would say so each time."""
    log = factory.installation.process.stderr_file
    checked = checks_in(log)
    with (
        closing(Impostor(tmp_path)) as impostor,
        closing(Forwarder(factory.installation.target, "127.0.0.1")) as there,
        changed(run.station.config, moved(run, factory, there.address)),
        on_a_terminal(run, port=str(tmp_path / "no-board-yet")) as terminal,
    ):
        wait_until(lambda: checks_in(log) > checked, "the start's last question")
        there.target = impostor.address
        there.cut()
        terminal.until("line_wrong_ca")
        seen = impostor.seen
        wait_until(lambda: impostor.seen > seen + 2, "gRPC to try again", timeout_s=60)
        assert terminal.text.count("LINE DOWN") == 1
        there.target = factory.installation.target
        terminal.until("connection to signerd is up")
        terminal.stop()
        assert terminal.wait() == 0
    assert not FOREIGN.search(terminal.text), terminal.text


def test_the_station_is_right_again(factory: Factory, run: Run) -> None:
    with on_a_terminal(run) as terminal:
        assert terminal.wait() == 0
    assert not FOREIGN.search(terminal.text)
    factory.finished_once(run)
