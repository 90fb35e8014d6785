"""`signerd init`: a development installation, and the two steps with an HSM and an offline root between."""

from __future__ import annotations

import asyncio
import json
import shutil
import stat
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from sqlalchemy import create_engine, text

from harness.ca_chains import Authority, Terms, certify, constraints, make, organization
from harness.ca_chains import directory as directory_names
from harness.key_holders import TokenAtHand, running
from harness.signing_samples import leaf_tbs
from signerd.adapters import device_ca
from signerd.adapters.checks import load_issuer
from signerd.adapters.ends import certificate_ends
from signerd.adapters.installation import create, create_dev, install_certificate, softhsm
from signerd.adapters.installation.chain_files import arrange, read_certificates
from signerd.adapters.keyholder.held_pin import WrongPin
from signerd.config import database_url, load
from signerd.core.ends import What
from signerd.core.issuer_algorithm import issuer_key
from signerd.core.note import parse_vkey
from signerd.errors import ConfigError

ROOT = device_ca.create_root("example", datetime.now(UTC).replace(microsecond=0))


def first_entry(directory: Path) -> dict[str, object]:
    engine = create_engine(database_url(load(directory / "signerd.toml"), directory))
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT entry_index, data FROM entries")).all()
    engine.dispose()
    ((index, data),) = rows
    assert index == 0
    entry: dict[str, object] = json.loads(data)
    return entry


def sign_once(token: TokenAtHand) -> None:
    async def story() -> None:
        async with running(token.settings, token.pin) as holder:
            tbs = leaf_tbs(token.sub_ca)
            signature = await holder.sign_certificate(tbs)
            key, algorithm = issuer_key(token.sub_ca.public_key())
            algorithm.verify(key, signature, tbs)

    asyncio.run(story())


# development


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dev") / "made" / "here"
    assert (
        create_dev(directory, deployment="desk", listen="127.0.0.1:0", by="ann") == directory / "signerd.toml"
    )
    return directory


def test_dev_makes_everything_with_its_mode(dev: Path) -> None:
    modes = {
        str(path.relative_to(dev)): stat.S_IMODE(path.stat().st_mode)
        for path in dev.rglob("*")
        if "tokens" not in path.parts
    }
    assert stat.S_IMODE(dev.stat().st_mode) == 0o700
    assert modes == {
        "admin": 0o700,
        "ca": 0o700,
        "ca/chain.pem": 0o644,
        "ca/root.pem": 0o644,
        "ca/sub-ca.pem": 0o644,
        "head": 0o700,
        "head/checkpoint": 0o600,
        "hsm.pin": 0o400,
        "log.vkey": 0o644,
        "operations": 0o700,
        "operations/ca.key": 0o600,
        "operations/ca.pem": 0o644,
        "operations/server.key": 0o600,
        "operations/server.pem": 0o644,
        "root": 0o700,
        "root/root.key": 0o600,
        "root/root.pem": 0o644,
        "signerd.sqlite": 0o600,
        "signerd.toml": 0o644,
        "softhsm": 0o700,
        "softhsm/softhsm2.conf": 0o600,
    }


def test_dev_signs(dev: Path) -> None:
    token = TokenAtHand(dev, load(dev / "signerd.toml"))
    sign_once(token)
    root = x509.load_pem_x509_certificate((dev / "root" / "root.pem").read_bytes())
    assert token.sub_ca.issuer == root.subject
    token.sub_ca.verify_directly_issued_by(root)
    constraints = token.sub_ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)


def test_dev_opens_the_ledger(dev: Path) -> None:
    entry = first_entry(dev)
    vkey = (dev / "log.vkey").read_text(encoding="ascii").strip()
    sub_ca, root = (
        x509.load_pem_x509_certificate((dev / "ca" / file).read_bytes())
        for file in ("sub-ca.pem", "root.pem")
    )
    assert entry.pop("time")
    assert len(bytes.fromhex(str(entry.pop("id")))) == 16
    assert entry == {
        "v": 3,
        "type": "log_opened",
        "by": "ann",
        "deployment": "desk",
        "origin": "desk.birthmark.example/line",
        "issuer_sha256": sub_ca.fingerprint(hashes.SHA256()).hex(),
        "root_sha256": root.fingerprint(hashes.SHA256()).hex(),
        "vkey": vkey,
    }
    assert parse_vkey(vkey).name == "desk.birthmark.example/line"
    head = (dev / "head" / "checkpoint").read_text(encoding="ascii")
    assert head.startswith("desk.birthmark.example/line\n0\n")


def test_openssl_accepts_the_chain(dev: Path) -> None:
    tool = shutil.which("openssl")
    if tool is None:
        pytest.skip("openssl is not installed")
    for ca, certificate, purpose in (
        ("ca/root.pem", "ca/sub-ca.pem", "any"),
        ("operations/ca.pem", "operations/server.pem", "sslserver"),
    ):
        options = ["-x509_strict", "-purpose", purpose, "-CAfile", str(dev / ca)]
        subprocess.run([tool, "verify", *options, str(dev / certificate)], check=True, capture_output=True)


def test_the_pin_is_nowhere_else(dev: Path) -> None:
    pin = (dev / "hsm.pin").read_bytes().strip()
    for path in dev.rglob("*"):
        if path.is_file() and path.name != "hsm.pin":
            assert pin not in path.read_bytes()


def test_a_directory_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine", encoding="ascii")
    with pytest.raises(ConfigError, match="not empty"):
        create_dev(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_wrong_name_is_refused_and_the_text_says_what_to_remove(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="deployment") as refusal:
        create_dev(tmp_path / "dev", deployment="not a name")
    assert f"remove {tmp_path / 'dev'}" in str(refusal.value)


@pytest.mark.parametrize("listen", ["", "localhost", ":1", "localhost:x", "localhost:70000"])
def test_a_wrong_address_is_refused_before_anything_is_made(tmp_path: Path, listen: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        create_dev(tmp_path / "dev", listen=listen)
    assert not (tmp_path / "dev").exists()


def test_a_directory_too_deep_for_its_socket_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * (107 + 3 - len(f"{tmp_path}//admin/admin.sock")))
    with pytest.raises(ConfigError, match="too long by 3 bytes"):
        create_dev(deep)
    with pytest.raises(ConfigError, match="too long by 3 bytes"):
        create(
            deep,
            module=Path("none.so"),
            token="none",
            pin_source="prompt",
            deployment="dev",
            server_names=["signer.example.com"],
        )
    assert not deep.exists()


def test_missing_softhsm_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softhsm, "_MODULES", (tmp_path / "libsofthsm2.so",))
    with pytest.raises(ConfigError, match="apt install softhsm2"):
        create_dev(tmp_path / "dev")
    assert not (tmp_path / "dev").exists()


# with an HSM


@dataclass(frozen=True, slots=True)
class Hsm:
    """An empty token that someone else has set up."""

    module: Path
    pin_file: Path
    environment: Mapping[str, str]


@pytest.fixture
def hsm(tmp_path: Path) -> Hsm:
    module = softhsm.find_module()
    environment, pin = softhsm.create_token(tmp_path / "softhsm", module)
    pin_file = tmp_path / "pin"
    pin_file.write_bytes(pin)
    pin_file.chmod(0o400)
    return Hsm(module, pin_file, environment)


def begin(hsm: Hsm, directory: Path, *, key_type: str = "p256", pin_source: str | None = None) -> Path:
    return create(
        directory,
        module=hsm.module,
        token=softhsm.TOKEN_LABEL,
        pin_source=pin_source or f"file:{hsm.pin_file}",
        deployment="example",
        server_names=["signer.example.com"],
        key_type=key_type,
        environment=hsm.environment,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the offline root sends back."""

    certificate: Path
    root: Path


def answer(
    request_file: Path,
    directory: Path,
    *,
    root: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] = ROOT,
    change: Callable[[x509.Certificate], x509.CertificateBuilder] | None = None,
) -> Answer:
    certificate, key = root
    request = x509.load_pem_x509_csr(request_file.read_bytes())
    signed = device_ca.sign_sub_ca(request, certificate, key, datetime.now(UTC).replace(microsecond=0))
    if change is not None:
        signed = change(signed).sign(key, hashes.SHA256())
    answered = Answer(directory / "sub-ca.pem", directory / "root.pem")
    answered.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
    answered.root.write_bytes(certificate.public_bytes(Encoding.PEM))
    return answered


def rebuilt(
    certificate: x509.Certificate,
    *,
    replaced: x509.ExtensionType | None = None,
    without: type[x509.ExtensionType] | None = None,
    key: ec.EllipticCurvePublicKey | None = None,
    not_after: datetime | None = None,
) -> x509.CertificateBuilder:
    """The same certificate, to be signed again, but for what is given."""
    own = certificate.public_key()
    assert isinstance(own, ec.EllipticCurvePublicKey)
    builder = (
        x509.CertificateBuilder()
        .subject_name(certificate.subject)
        .issuer_name(certificate.issuer)
        .public_key(key or own)
        .serial_number(certificate.serial_number)
        .not_valid_before(certificate.not_valid_before_utc)
        .not_valid_after(not_after or certificate.not_valid_after_utc)
    )
    for extension in certificate.extensions:
        value = extension.value
        if replaced is not None and value.oid == replaced.oid:
            value = replaced
        if without is None or not isinstance(value, without):
            builder = builder.add_extension(value, critical=extension.critical)
    return builder


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa2048"])
def test_the_two_steps(hsm: Hsm, tmp_path: Path, key_type: str) -> None:
    directory = tmp_path / "signerd"
    request = begin(hsm, directory, key_type=key_type)
    assert request == directory / "ca" / "sub-ca.csr.pem"
    assert not (directory / "signerd.sqlite").exists()
    answered = answer(request, tmp_path)
    install_certificate(directory, certificate=answered.certificate, root=answered.root)
    assert (directory / "ca" / "chain.pem").read_bytes() == answered.certificate.read_bytes()
    assert (directory / "ca" / "root.pem").read_bytes() == answered.root.read_bytes()
    assert not (directory / "root").exists()
    assert not (directory / "hsm.pin").exists()
    assert first_entry(directory)["origin"] == "example/birthmark"
    sign_once(TokenAtHand(directory, load(directory / "signerd.toml")))
    with pytest.raises(ConfigError, match="finished"):
        install_certificate(directory, certificate=answered.certificate, root=answered.root)


def bought(request_file: Path) -> list[Authority]:
    """Root, four CAs and the sub-CA for the request's key: as a vendor's hierarchy is."""
    request = x509.load_pem_x509_csr(request_file.read_bytes())
    made = [make(Terms("Root"))]
    for name in ("First", "Second", "Third", "Fourth"):
        made.append(make(Terms(name), made[-1]))
    key = request.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    sub_ca = certify(Terms("Example device CA", path_length=0), key, made[-1])
    return [*made, Authority(sub_ca, made[-1].key)]


def in_pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(b"subject: x\n" + each.public_bytes(Encoding.PEM) for each in certificates)


def in_pkcs7(*certificates: x509.Certificate, encoding: Encoding = Encoding.DER) -> bytes:
    return pkcs7.serialize_certificates(list(certificates), encoding)


def test_a_bought_chain_in_any_form(hsm: Hsm, tmp_path: Path) -> None:
    """Each way of sending it gives the same chain; the last one is taken."""
    request = begin(hsm, tmp_path / "signerd")
    made = bought(request)
    root, *chain = [authority.certificate for authority in made]
    chain.reverse()
    old_root = make(Terms("Old root"))
    crossed = make(Terms("Root", key=made[0].key), old_root).certificate
    stranger = make(Terms("Stranger")).certificate
    (tmp_path / "root.pem").write_bytes(in_pem(root))
    sent = tmp_path / "sent"
    csr = x509.load_pem_x509_csr(request.read_bytes())
    for data, pinned, left_out in (
        (in_pem(*chain), root, []),
        (in_pem(*reversed(chain)), root, []),
        (in_pem(root, *chain, chain[0]), root, []),
        (in_pem(*chain, crossed, stranger), root, [crossed, stranger]),
        (in_pkcs7(*chain), root, []),
        (in_pkcs7(root, *chain, encoding=Encoding.PEM), root, []),
        (in_pem(*chain), crossed, []),  # the root as another signed it
    ):
        sent.write_bytes(data)
        arranged = arrange(read_certificates(sent), csr, pinned)
        assert arranged.chain == tuple(chain)
        assert list(arranged.left_out) == left_out
    middle = arrange(chain, csr, chain[2])
    assert (middle.chain, middle.left_out) == (tuple(chain[:2]), tuple(chain[3:]))
    parts = [tmp_path / f"{number}.der" for number in range(len(chain))]
    for part, certificate in zip(parts, chain, strict=True):
        part.write_bytes(certificate.public_bytes(Encoding.DER))
    first, *more = reversed(parts)
    install_certificate(tmp_path / "signerd", certificate=first, chain=more, root=tmp_path / "root.pem")
    config = load(tmp_path / "signerd" / "signerd.toml")
    assert [x509.load_der_x509_certificate(each) for each in load_issuer(config).chain] == chain
    assert (
        x509.load_pem_x509_certificates((config.authority.certificate.parent / "chain.pem").read_bytes())
        == chain
    )
    assert [(end.what, end.name) for end in certificate_ends(config)][-6:] == [
        (What.SUB_CA, "main"),
        *((What.ISSUER, f"CN={name},O=Example") for name in ("Fourth", "Third", "Second", "First")),
        (What.ROOT, "CN=Root,O=Example"),
    ]
    sign_once(TokenAtHand(tmp_path / "signerd", config))


def test_a_bought_chain_that_breaks_off_or_is_forbidden(hsm: Hsm, tmp_path: Path) -> None:
    directory = tmp_path / "signerd"
    request = begin(hsm, directory)
    before = sorted(directory.rglob("*"))
    made = bought(request)
    root, *chain = [authority.certificate for authority in made]
    chain.reverse()
    key = x509.load_pem_x509_csr(request.read_bytes()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)

    def below(*terms: Terms) -> list[x509.Certificate]:
        """The sub-CA and what these CAs above it come to, the root's excepted."""
        above = made[0]
        others = []
        for each in terms:
            above = make(each, above)
            others.append(above.certificate)
        return [certify(Terms("Example device CA", path_length=0), key, above), *others]

    short = Terms("Short", path_length=0)
    policy = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    for certificates, reason in (
        ([chain[0], *chain[2:]], "CN=Example device CA,O=Example is not issued by this root(.|\n)*--chain"),
        (chain[:-1], "its issuer is CN=First,O=Example"),
        (chain[1:], "key is not the one in the token"),
        (below(Terms("A"), Terms("B"), Terms("C"), Terms("D"), Terms("E")), "6 certificates below the root"),
        (below(short, Terms("Lower")), "allows 0 CAs below it, and has 2"),
        (below(Terms("Odd", extra=((policy, True),))), "critical extension that is not known here: 1.2.3.4"),
        (below(Terms("Over", end=datetime(2021, 1, 1, tzinfo=UTC))), "CN=Over,O=Example is not valid now"),
        (below(Terms("Soon", end=datetime(2059, 1, 1, tzinfo=UTC))), "outlives CN=Soon,O=Example"),
        (
            below(Terms("Narrow", extra=(constraints(directory_names(organization("Other"))),))),
            "not within subject Other",
        ),
    ):
        (tmp_path / "sent").write_bytes(in_pem(*certificates))
        (tmp_path / "root.pem").write_bytes(in_pem(root))
        with pytest.raises(ConfigError, match=reason):
            install_certificate(directory, certificate=tmp_path / "sent", root=tmp_path / "root.pem")
    (tmp_path / "sub-ca.pem").write_bytes(in_pem(chain[0]))
    with pytest.raises(ConfigError, match="given as --root: that is the certificate above it"):
        install_certificate(directory, certificate=tmp_path / "sub-ca.pem", root=tmp_path / "sub-ca.pem")
    (tmp_path / "root.pem").write_bytes(in_pem(root, chain[-1]))
    with pytest.raises(ConfigError, match="holds 2 certificates: give the root's alone"):
        install_certificate(directory, certificate=tmp_path / "sent", root=tmp_path / "root.pem")
    assert sorted(directory.rglob("*")) == before


RECIPE = Path(__file__).parents[3] / "deploy" / "hsm" / "sub-ca.cnf"


def test_a_root_that_follows_the_recipe_is_accepted(hsm: Hsm, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    request = begin(hsm, tmp_path / "signerd")
    root, key, sub_ca = (str(tmp_path / name) for name in ("root.pem", "root.key", "sub-ca.pem"))
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-keyout", key]
    subject = ["-subj", "/O=Example Corp/CN=Example Device Root CA", "-days", "10950", "-sha384"]
    extensions = ["-config", str(RECIPE), "-extensions", "root", "-out", root]
    made = [openssl, "req", "-x509", *curve, *subject, *extensions]
    signed = [openssl, "x509", "-req", "-in", str(request), "-CA", root, "-CAkey", key, "-days", "9125"]
    recipe = ["-sha256", "-extfile", str(RECIPE), "-extensions", "sub_ca", "-out", sub_ca]
    for command in (made, [*signed, *recipe]):
        subprocess.run(command, check=True, capture_output=True)
    install_certificate(tmp_path / "signerd", certificate=Path(sub_ca), root=Path(root))


def usage(*, key_cert_sign: bool, crl_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


OTHER_KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
LEAF = x509.BasicConstraints(ca=False, path_length=None)
DEEP = x509.BasicConstraints(ca=True, path_length=1)
BAD_ANSWERS: dict[str, tuple[Callable[[x509.Certificate], x509.CertificateBuilder], str]] = {
    "another key": (lambda signed: rebuilt(signed, key=OTHER_KEY), "key is not the one in the token"),
    "a leaf": (lambda signed: rebuilt(signed, replaced=LEAF), "CA:TRUE"),
    "no constraints": (lambda signed: rebuilt(signed, without=x509.BasicConstraints), "CA:TRUE"),
    "path length 1": (lambda signed: rebuilt(signed, replaced=DEEP), "path length is not 0"),
    "no keyCertSign": (
        lambda signed: rebuilt(signed, replaced=usage(key_cert_sign=False, crl_sign=True)),
        "keyCertSign",
    ),
    "no cRLSign": (
        lambda signed: rebuilt(signed, replaced=usage(key_cert_sign=True, crl_sign=False)),
        "cRLSign",
    ),
    "no key id": (
        lambda signed: rebuilt(signed, without=x509.SubjectKeyIdentifier),
        "no subject key identifier",
    ),
    "outlives the root": (
        lambda signed: rebuilt(signed, not_after=ROOT[0].not_valid_after_utc + timedelta(days=1)),
        "it outlives CN=Birthmark development root CA",
    ),
}


def test_what_comes_back_is_checked_and_can_be_replaced(hsm: Hsm, tmp_path: Path) -> None:
    directory = tmp_path / "signerd"
    request = begin(hsm, directory)
    before = sorted(directory.rglob("*"))
    for change, reason in BAD_ANSWERS.values():
        answered = answer(request, tmp_path, change=change)
        with pytest.raises(ConfigError, match=reason) as refusal:
            install_certificate(directory, certificate=answered.certificate, root=answered.root)
        assert len(str(refusal.value).splitlines()) == 2  # the heading, and this one problem
        assert sorted(directory.rglob("*")) == before
    good = answer(request, tmp_path)
    other_root = tmp_path / "other-root.pem"
    certificate, _ = device_ca.create_root("other", datetime.now(UTC).replace(microsecond=0))
    other_root.write_bytes(certificate.public_bytes(Encoding.PEM))
    for wrong, reason in ((other_root, "not issued by this root"), (request, "not a certificate")):
        with pytest.raises(ConfigError, match=reason):
            install_certificate(directory, certificate=good.certificate, root=wrong)
    assert sorted(directory.rglob("*")) == before
    install_certificate(directory, certificate=good.certificate, root=good.root)


def test_a_wrong_pin_at_the_second_step_leaves_it_open(hsm: Hsm, tmp_path: Path) -> None:
    directory = tmp_path / "signerd"
    answered = answer(begin(hsm, directory), tmp_path)
    right = hsm.pin_file.read_bytes()
    rewrite_pin(hsm, b"not the PIN")
    before = sorted(directory.rglob("*"))
    with pytest.raises(WrongPin):
        install_certificate(directory, certificate=answered.certificate, root=answered.root)
    noted = directory / "head" / "checkpoint.rejected-pins"  # so that it is not tried again
    assert sorted(directory.rglob("*")) == sorted([*before, noted])
    with pytest.raises(WrongPin, match="not tried again"):
        install_certificate(directory, certificate=answered.certificate, root=answered.root)
    rewrite_pin(hsm, right)
    install_certificate(directory, certificate=answered.certificate, root=answered.root)


def rewrite_pin(hsm: Hsm, pin: bytes) -> None:
    hsm.pin_file.chmod(0o600)
    hsm.pin_file.write_bytes(pin)
    hsm.pin_file.chmod(0o400)


def test_a_wrong_pin_at_the_first_step_is_said_with_what_to_remove(hsm: Hsm, tmp_path: Path) -> None:
    rewrite_pin(hsm, b"not the PIN")
    with pytest.raises(WrongPin, match=f"remove {tmp_path / 'signerd'}") as refusal:
        begin(hsm, tmp_path / "signerd")
    assert "birthmark-ca" not in str(refusal.value)


def test_keys_that_exist_are_not_touched(hsm: Hsm, tmp_path: Path) -> None:
    answered = answer(begin(hsm, tmp_path / "first"), tmp_path)
    with pytest.raises(ConfigError, match="holds an object labelled"):
        begin(hsm, tmp_path / "second")
    install_certificate(tmp_path / "first", certificate=answered.certificate, root=answered.root)


def test_an_unknown_key_type_and_pin_source_are_refused(hsm: Hsm, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="p256, p384, rsa2048, rsa3072 or rsa4096"):
        begin(hsm, tmp_path / "signerd", key_type="rsa1024")
    with pytest.raises(ConfigError, match="never the PIN itself"):
        begin(hsm, tmp_path / "signerd", pin_source="1234")


def test_the_second_step_needs_the_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="signerd init"):
        install_certificate(tmp_path, certificate=tmp_path / "a", root=tmp_path / "b")
