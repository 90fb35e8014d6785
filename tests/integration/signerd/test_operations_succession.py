"""The files of the operations CA's succession: a step that the power cut short goes on when given again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.adapters import durable_files
from signerd.adapters.installation import parts
from signerd.adapters.installation.layout import Layout
from signerd.adapters.installation.settings_file import Choices, write_settings
from signerd.adapters.mtls import ServerCertificate
from signerd.adapters.operations_ca import OperationsCa, create_ca, issue_server, load_ca, load_cas
from signerd.adapters.operations_succession import OperationsFiles
from signerd.adapters.server_renewal import Renamed, install, renew, request
from signerd.errors import Code, ConfigError, Refused

NOW = datetime.now(UTC).replace(microsecond=0)


class Crash(BaseException):
    """The power goes."""


class Announced:
    """The ledger, as far as a command sees it."""

    def __init__(self) -> None:
        self.cas: list[x509.Certificate] = []

    def __call__(self, ca: x509.Certificate) -> None:
        if ca not in self.cas:
            self.cas.append(ca)


@pytest.fixture
def files(tmp_path: Path) -> OperationsFiles:
    layout = Layout(tmp_path)
    layout.operations.mkdir()
    parts.write_operations(layout, "example", ("signer.example.com", "localhost"), NOW)
    config = write_settings(
        layout,
        Choices(
            deployment="example",
            listen="[::]:8443",
            server_names=("signer.example.com",),
            origin="example/birthmark",
            module=Path("/none.so"),
            token="none",
            pin_source="prompt",
            metrics=False,
        ),
    )
    return OperationsFiles(config, tmp_path)


def dies_at_write(monkeypatch: pytest.MonkeyPatch, number: int, *, after: bool) -> None:
    """At this write, counted from 0: before it, or right after."""
    count, replace = iter(range(100)), durable_files.replace

    def dying(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
        here = next(count) == number
        if here and not after:
            raise Crash
        replace(path, data, mode, owner)
        if here:
            raise Crash

    monkeypatch.setattr(durable_files, "replace", dying)


def usable(files: OperationsFiles) -> None:
    """signerd starts on them, and a peer can be added: whatever was cut short."""
    served = ServerCertificate.read(files.config.server)
    server = x509.load_pem_x509_certificate(served.chain)
    assert files.of_server() in x509.load_pem_x509_certificates(served.client_ca)
    server.verify_directly_issued_by(files.of_server())
    assert load_ca(files.base).certificate in files.trusted()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(3))
def test_an_addition_that_was_cut_short_goes_on_with_the_same_ca(
    files: OperationsFiles, monkeypatch: pytest.MonkeyPatch, write: int, after: bool
) -> None:
    announced = Announced()
    with monkeypatch.context() as patched:
        dies_at_write(patched, write, after=after)
        with pytest.raises(Crash):
            files.add(None, announced, NOW)
    usable(files)
    made = files.add(None, announced, NOW)
    assert announced.cas == [made]
    assert files.trusted()[1:] == [made]
    assert load_ca(files.base).certificate == made
    usable(files)


def test_nothing_is_changed_that_was_not_announced(files: OperationsFiles) -> None:
    def refused(_ca: x509.Certificate) -> None:
        raise Refused(Code.INVALID, "peers have not moved")

    steps: list[Callable[[], object]] = [
        lambda: files.add(None, refused, NOW),
        lambda: files.activate(None, refused, NOW),
        lambda: files.retire(refused, newest=True),
    ]
    for step in steps:
        before = files.trusted(), files.of_server(), ServerCertificate.read(files.config.server)
        with pytest.raises(Refused):
            step()
        assert (files.trusted(), files.of_server(), ServerCertificate.read(files.config.server)) == before
        if len(files.trusted()) == 1:
            files.add(None, Announced(), NOW)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(3))
def test_an_activation_that_was_cut_short_goes_on(
    files: OperationsFiles, monkeypatch: pytest.MonkeyPatch, write: int, after: bool
) -> None:
    newest = files.add(None, Announced(), NOW)
    announced = Announced()
    with monkeypatch.context() as patched:
        dies_at_write(patched, write, after=after)
        with pytest.raises(Crash):
            files.activate(None, announced, NOW)
    usable(files)
    if files.of_server() != newest:
        files.activate(None, announced, NOW)
    assert announced.cas == [newest]
    assert files.of_server() == newest
    usable(files)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(2))
def test_a_retirement_that_was_cut_short_goes_on(
    files: OperationsFiles, monkeypatch: pytest.MonkeyPatch, write: int, after: bool
) -> None:
    first, newest = files.trusted()[0], files.add(None, Announced(), NOW)
    files.activate(None, Announced(), NOW)
    announced = Announced()
    with monkeypatch.context() as patched:
        dies_at_write(patched, write, after=after)
        with pytest.raises(Crash):
            files.retire(announced, newest=False)
    usable(files)
    if len(files.trusted()) == 2:
        files.retire(announced, newest=False)
    assert announced.cas == [first]
    assert files.trusted() == [newest]
    usable(files)


def test_the_server_stays_with_the_ca_that_peers_trust_until_it_is_activated(files: OperationsFiles) -> None:
    first = files.of_server()
    newest = files.add(None, Announced(), NOW)
    renew(files.config, files.base, Renamed(), NOW)
    assert files.of_server() == first
    files.activate(None, Announced(), NOW)
    renew(files.config, files.base, Renamed(), NOW)
    assert files.of_server() == newest
    with pytest.raises(ConfigError, match="of the newest operations CA already"):
        files.activate(None, Announced(), NOW)


def test_a_ca_whose_key_is_kept_elsewhere(files: OperationsFiles) -> None:
    elsewhere = create_ca("example", NOW, successor=True)
    files.add(elsewhere.certificate, Announced(), NOW)
    assert files.trusted()[-1] == elsewhere.certificate
    assert not files.has_key(elsewhere.certificate)
    assert [ca.certificate for ca in load_cas(files.base)] == files.trusted()[:1]
    asked = request(files.config, Renamed())
    certificate, _ = issue_server(elsewhere, "example", ("signer.example.com",), NOW)
    announced = Announced()
    with pytest.raises(ConfigError, match="is not the key of"):
        files.activate(certificate.public_bytes(Encoding.PEM), announced, NOW)
    answer = answer_to(asked, elsewhere)
    with pytest.raises(ConfigError, match="was not issued by"):
        install(files.config, answer, NOW)
    assert announced.cas == []
    files.activate(answer, announced, NOW)
    assert files.of_server() == elsewhere.certificate


def answer_to(asked: x509.CertificateSigningRequest, ca: OperationsCa) -> bytes:
    """What an operations CA elsewhere makes of the server's request."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(asked.subject)
        .issuer_name(ca.certificate.subject)
        .public_key(asked.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(minutes=5))
        .not_valid_after(NOW + timedelta(days=30))
    )
    for extension in asked.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.PEM)
