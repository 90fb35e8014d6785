"""The server's certificate and key: a renewal is one step, whatever stops it, and loses no name."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from signerd.adapters import durable_files
from signerd.adapters.installation import parts
from signerd.adapters.installation.layout import Layout
from signerd.adapters.installation.settings_file import Choices, write_settings
from signerd.adapters.mtls import ServerCertificate
from signerd.adapters.operations_ca import create_ca, issue_server, load_ca, names_in
from signerd.adapters.server_files import ServerFiles
from signerd.adapters.server_renewal import Renamed, install, renew, request
from signerd.config import Config
from signerd.errors import ConfigError, NotNow

NOW = datetime.now(UTC).replace(microsecond=0)
SAME = Renamed()


class Crash(BaseException):
    """The power goes."""


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    """An installation's settings, operations CA and server certificate, and nothing else of it."""
    layout = Layout(tmp_path)
    layout.operations.mkdir()
    names = ("signer.example.com", "localhost")
    parts.write_operations(layout, "example", names, NOW)
    return write_settings(
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


def base(settings: Config) -> Path:
    return settings.server.certificate.parent.parent


def files(settings: Config) -> ServerFiles:
    return ServerFiles(settings.server.certificate, settings.server.key)


def fits(settings: Config) -> x509.Certificate:
    """The certificate, whose key a listener would be given: one key, and the right one."""
    served = ServerCertificate.read(settings.server)
    certificate = x509.load_pem_x509_certificate(served.chain)
    assert served.key.count(b"PRIVATE KEY") == 2
    assert load_pem_private_key(served.key, password=None).public_key() == certificate.public_key()
    return certificate


def keys_kept(settings: Config) -> int:
    return settings.server.key.read_bytes().count(b"BEGIN PRIVATE KEY")


def test_a_renewal_has_a_new_key_and_the_names_of_before(settings: Config) -> None:
    before = fits(settings)
    made = renew(settings, base(settings), SAME, NOW)
    assert fits(settings) == made
    assert made.public_key() != before.public_key()
    assert set(names_in(made)) == {"signer.example.com", "localhost"}
    assert keys_kept(settings) == 1
    assert settings.server.key.stat().st_mode & 0o777 == 0o600
    made.verify_directly_issued_by(load_ca(base(settings)).certificate)


def test_files_of_an_editor_of_windows_are_served_without_their_mark(settings: Config) -> None:
    before = ServerCertificate.read(settings.server)
    for file in (settings.server.certificate, settings.server.key, settings.server.client_ca):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert ServerCertificate.read(settings.server) == before
    settings.server.client_ca.write_bytes("-----BEGIN".encode("utf-16"))
    with pytest.raises(ConfigError, match="it is UTF-16"):
        ServerCertificate.read(settings.server)


def test_names_are_added_and_dropped(settings: Config) -> None:
    made = renew(settings, base(settings), Renamed(added=["B.example", "2001:db8::7"]), NOW)
    assert set(names_in(made)) == {"signer.example.com", "localhost", "b.example", "2001:db8::7"}
    made = renew(settings, base(settings), Renamed(dropped=["b.example"]), NOW)
    assert set(names_in(made)) == {"signer.example.com", "localhost", "2001:db8::7"}


def test_names_that_are_not_made_here_are_dropped_by_who_says_so(settings: Config) -> None:
    """A certificate that was made elsewhere may have wildcards, which cover what stations dial."""
    made, key = issue_server(load_ca(base(settings)), "example", ("*.example.com", "localhost"), NOW)
    files(settings).keep(key)
    install(settings, made.public_bytes(Encoding.PEM), NOW)
    for renamed in (SAME, Renamed(added=["b.example"])):
        with pytest.raises(ConfigError, match=r"--drop '\*\.example\.com'"):
            renew(settings, base(settings), renamed, NOW)
    assert fits(settings) == made
    made = renew(settings, base(settings), Renamed(dropped=["*.Example.com"]), NOW)
    assert set(names_in(made)) == {"signer.example.com", "localhost"}


@pytest.mark.parametrize(
    ("renamed", "reason"),
    [
        (Renamed(added=["*.example"]), "wildcard"),
        (Renamed(dropped=["other.example"]), "has no name other.example"),
        (
            Renamed(dropped=["signer.example.com"]),
            "server.names in signerd.toml still has signer.example.com",
        ),
    ],
)
def test_a_wrong_name_changes_nothing(settings: Config, renamed: Renamed, reason: str) -> None:
    before = fits(settings)
    with pytest.raises(ConfigError, match=reason):
        renew(settings, base(settings), renamed, NOW)
    assert (fits(settings), keys_kept(settings)) == (before, 1)


# Each durable write of a renewal: which certificate is there after a crash right before it, and right after.
WRITES = {1: ("old", "old"), 2: ("old", "new"), 3: ("new", "new")}


@pytest.mark.parametrize("number", WRITES)
@pytest.mark.parametrize("done", [False, True])
def test_a_crash_at_any_write_leaves_a_pair_that_fits(
    settings: Config, monkeypatch: pytest.MonkeyPatch, number: int, done: bool
) -> None:
    before, real, count = fits(settings), durable_files.replace, 0

    def replace(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
        nonlocal count
        count += 1
        if count == number and not done:
            raise Crash
        real(path, data, mode, owner)
        if count == number:
            raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(durable_files, "replace", replace)
        with pytest.raises(Crash):
            renew(settings, base(settings), SAME, NOW)
    assert (fits(settings) == before) == (WRITES[number][done] == "old")
    made = renew(settings, base(settings), SAME, NOW)
    assert (fits(settings), keys_kept(settings)) == (made, 1)


def test_a_renewal_makes_three_writes(settings: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the test above crashes at are all there are."""
    written: list[str] = []
    real = durable_files.replace

    def replace(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
        written.append(path.name)
        real(path, data, mode, owner)

    monkeypatch.setattr(durable_files, "replace", replace)
    renew(settings, base(settings), SAME, NOW)
    assert written == ["server.key", "server.pem", "server.key"]


def test_a_power_cut_that_brings_the_old_certificate_back_finds_its_key(
    settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rename of the certificate may not last: then no key is thrown away."""
    before, real = settings.server.certificate.read_bytes(), durable_files.replace

    def replace(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
        real(path, data, mode, owner)
        if path == settings.server.certificate:
            raise durable_files.NotSyncedError(5, "Input/output error", str(path))

    monkeypatch.setattr(durable_files, "replace", replace)
    with pytest.raises(ConfigError, match=r"server\.pem"):
        renew(settings, base(settings), SAME, NOW)
    fits(settings)
    settings.server.certificate.write_bytes(before)
    fits(settings)


def test_two_renewals_at_once_are_one_after_the_other(settings: Config) -> None:
    with files(settings).alone(), pytest.raises(NotNow, match="another renewal"):
        renew(settings, base(settings), SAME, NOW)
    renew(settings, base(settings), SAME, NOW)


def test_a_certificate_ends_with_its_ca_and_none_comes_after_it(settings: Config) -> None:
    end = load_ca(base(settings)).certificate.not_valid_after_utc
    assert renew(settings, base(settings), SAME, end - timedelta(days=10)).not_valid_after_utc == end
    with pytest.raises(ConfigError, match="the operations CA ended"):
        renew(settings, base(settings), SAME, end)


def test_the_ca_may_be_elsewhere(settings: Config) -> None:
    before, ca = fits(settings), load_ca(base(settings))
    (base(settings) / "operations" / "ca.key").unlink()
    with pytest.raises(ConfigError, match="signerd server renew --request"):
        renew(settings, base(settings), SAME, NOW)
    asked = request(settings, Renamed(added=["b.example"]))
    request(settings, SAME)  # another one, whose answer never comes
    assert fits(settings) == before
    said = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    own = x509.SubjectKeyIdentifier.from_public_key(ca.key.public_key())
    made = (
        x509.CertificateBuilder(
            ca.certificate.subject, asked.subject, asked.public_key(), 7, NOW, NOW + timedelta(days=9)
        )
        .add_extension(said.value, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    assert install(settings, made.public_bytes(Encoding.PEM), NOW) == made
    assert (fits(settings), keys_kept(settings)) == (made, 1)
    assert {"b.example", "signer.example.com"} <= set(names_in(made))


def test_what_answers_no_request_is_refused(settings: Config) -> None:
    before, ca = fits(settings), load_ca(base(settings))
    names = ("signer.example.com",)
    other, _ = issue_server(ca, "example", names, NOW)  # its key is not here
    strange, _ = issue_server(create_ca("example", NOW), "example", names, NOW)
    nameless, _ = issue_server(ca, "example", ("other.example",), NOW)
    for pem, reason in (
        (other.public_bytes(Encoding.PEM), "is not the key of"),
        (strange.public_bytes(Encoding.PEM), "was not issued by"),
        (nameless.public_bytes(Encoding.PEM), "lacks signer.example.com"),
        (ca.certificate.public_bytes(Encoding.PEM), "no server's certificate"),
        (b"none", "no server's certificate"),
    ):
        with pytest.raises(ConfigError, match=reason):
            install(settings, pem, NOW)
    with pytest.raises(ConfigError, match="not valid now"):
        install(settings, other.public_bytes(Encoding.PEM), NOW + timedelta(days=900))
    assert (fits(settings), keys_kept(settings)) == (before, 1)


def test_the_key_of_another_user_is_not_touched(settings: Config) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(settings.server.key, 12345, 12345)
    with pytest.raises(ConfigError, match="run the command as signerd's user"):
        renew(settings, base(settings), SAME, NOW)
