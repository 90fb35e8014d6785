from __future__ import annotations

import base64
import hashlib
import json
import os
import pwd
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import psutil
import pytest
from alembic import command as alembic
from alembic.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from sqlalchemy import create_engine

from birthmark.v1 import admin_pb2
from boards.attesters.psa_token import PsaVendor
from harness.edge import TIMEOUT_S, Edge, new_key
from harness.installation import SENSOR, Installation, order_toml, product_toml
from harness.process import COMMANDS, run, wait_until

SIGNERD = COMMANDS / "signerd"
STATION = "birthmark://dev/station/plant1/pc1"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("cli")) as edge:
        edge.start()
        yield edge


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Installation]:
    with Installation(tmp_path / "fresh") as installation:
        yield installation


def signerd(installation: Installation, *arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [str(SIGNERD), *map(str, arguments), "-c", str(installation.config)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def unstarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Never started: its tests leave it as they found it."""
    with Installation(tmp_path_factory.mktemp("unstarted") / "fresh") as installation:
        yield installation


@contextmanager
def changed(installation: Installation, old: str, new: str) -> Iterator[None]:
    before = installation.config.read_text("utf-8")
    change(installation, old, new)
    yield
    installation.config.write_text(before, "utf-8")


def change(installation: Installation, old: str, new: str) -> None:
    text = installation.config.read_text("utf-8")
    assert old in text
    installation.config.write_text(text.replace(old, new, 1), "utf-8")


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['signerd', '--help']\n"
        "from signerd.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'grpc', 'sqlalchemy', 'cryptography', 'pkcs11', 'pkilint'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_stations_and_auditors(edge: Edge, tmp_path: Path) -> None:
    peer = edge.peer("station/plant1/pc7")
    certificate = tmp_path / "pc7.pem"
    certificate.write_bytes(peer.certificate)
    assert "added" in edge.installation.admin("station", "add", "--certificate", certificate)
    code, said = signerd(edge.installation, "station", "add", "--certificate", certificate)
    assert (code, "already_exists" in said) == (1, True)
    (found,) = [
        each
        for each in json.loads(edge.installation.admin("station", "list", "--json"))
        if each["uri"] == peer.uri
    ]
    assert (found["role"], len(found["spki_sha256"]), "revoked_at" in found) == ("station", 64, False)
    edge.installation.admin("station", "revoke", peer.uri)
    assert signerd(edge.installation, "station", "revoke", peer.uri)[0] == 1
    assert peer.uri in edge.installation.admin("station", "list")
    assert peer.uri not in edge.installation.admin("auditor", "list")


def test_a_request_is_signed_and_registered(edge: Edge, tmp_path: Path) -> None:
    request, out = tmp_path / "pc8.csr.pem", tmp_path / "pc8.pem"
    key = tmp_path / "pc8.key"
    subject = ["-subj", "/CN=whatever"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run(["openssl", "req", "-new", *curve, "-keyout", key, *subject, "-out", request])
    edge.installation.admin("station", "add", request, "--site", "plant1", "--name", "pc8", "--out", out)
    san = x509.load_pem_x509_certificate(out.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    uris = san.value.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == ["birthmark://dev/station/plant1/pc8"]
    again = tmp_path / "again.pem"
    code, _ = signerd(
        edge.installation, "station", "add", request, "--site", "plant1", "--name", "pc8", "--out", again
    )
    assert code == 1
    assert not again.exists()
    assert signerd(edge.installation, "station", "add", request, "--name", "pc8")[0] == 2
    code, said = signerd(
        edge.installation, "station", "add", request, "--site", "a/b", "--name", "pc8", "--out", again
    )
    assert (code, "invalid" in said) == (1, True)


def test_products(edge: Edge, tmp_path: Path) -> None:
    file = tmp_path / "product.toml"
    file.write_text(SENSOR.replace('"sensor"', '"gauge"'), "utf-8")
    assert "added product gauge" in edge.installation.admin("product", "add", file)
    assert "gauge" in edge.installation.admin("product", "list")
    names = [each["name"] for each in json.loads(edge.installation.admin("product", "list", "--json"))]
    assert "gauge" in names


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('["O", "Example Corp"]', '["C", "Germany"]', ""),
        ('"clientAuth"', '"OCSPSigning"', "key holder"),
        ("validity_days = 7300", "validity_days = 20000", "validity"),
        ('"https://boards.example.com/{chip_id}"', '"board {chip_id}"', "uri"),
        ('accept = ["p256", "p384"]', 'accept = ["p999"]', "keys"),
        ("[keys]", "[keys", "TOML"),
    ],
)
def test_a_product_that_would_give_no_good_certificate(edge: Edge, old: str, new: str, named: str) -> None:
    assert old in SENSOR
    text = SENSOR.replace(old, new, 1).replace('"sensor"', '"wrong"')
    with pytest.raises(grpc.RpcError) as refused:
        edge.admin.AddProduct(admin_pb2.AddProductRequest(product_toml=text), timeout=TIMEOUT_S)
    assert isinstance(refused.value, grpc.Call)
    said = refused.value.details() or ""
    assert said.startswith("invalid: ")
    assert named.lower() in said.lower()
    products = edge.admin.ListProducts(admin_pb2.ListProductsRequest(), timeout=TIMEOUT_S).products
    assert "wrong" not in [product.name for product in products]


def test_work_orders_and_chips(edge: Edge, tmp_path: Path) -> None:
    edge.add_sensor()
    station = edge.add_peer("station/plant1/pc1")
    file = tmp_path / "order.toml"
    file.write_text(order_toml("WO-C", quantity=3, stations=[station.uri], level="none"), "utf-8")
    assert "opened WO-C" in edge.installation.admin("order", "open", file)
    code, said = signerd(edge.installation, "order", "open", file)
    assert (code, "already_exists" in said) == (1, True)
    shown = json.loads(edge.installation.admin("order", "show", "WO-C", "--json"))
    assert (shown["work_order"]["state"], shown["work_order"]["level"]) == ("open", "none")
    assert shown["work_order"]["minimum_firmware"] == {}
    assert shown["counts"] == {"places": 0, "issued": 0, "stamped": 0, "revoked": 0, "open_intents": 0}
    assert station.uri in edge.installation.admin("order", "show", "WO-C")
    chips = tmp_path / "chips.txt"
    chips.write_text("chip-1\n\nchip-2\n", "utf-8")
    assert "2 of 2" in edge.installation.admin("chips", "import", "--order", "WO-C", chips)
    assert "0 of 2" in edge.installation.admin("chips", "import", "--order", "WO-C", chips)
    chips.write_text("chip-3\nchip 4\n", "utf-8")
    code, said = signerd(edge.installation, "chips", "import", "--order", "WO-C", chips)
    assert (code, "line 2" in said) == (1, True)
    edge.installation.admin("order", "close", "WO-C")
    (listed,) = [
        each
        for each in json.loads(edge.installation.admin("order", "list", "--json"))
        if each["work_order"]["work_order"] == "WO-C"
    ]
    assert listed["work_order"]["state"] == "closed"
    assert signerd(edge.installation, "order", "show", "WO-NONE")[0] == 1
    file.write_text(order_toml("WO-D", quantity=3, stations=["birthmark://other/station/a/b"]), "utf-8")
    code, said = signerd(edge.installation, "order", "open", file)
    assert (code, "deployment" in said) == (1, True)


def test_showing_the_bundle_of_a_work_order(edge: Edge, tmp_path: Path) -> None:
    edge.installation.add_product(product_toml("bundled"))
    station = edge.add_peer("station/plant1/pc2")
    file = tmp_path / "order.toml"
    bundle, app, boot = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
    named = order_toml(
        "WO-E",
        quantity=3,
        stations=[station.uri],
        product="bundled",
        serial_pattern="E-{number}",
        bundle_sha256=bundle,
        firmware={"boot": ["2.0", boot], "app": ["1.4.0", app]},
    )
    file.write_text(named, "utf-8")
    opened = json.loads(edge.installation.admin("order", "open", file, "--json"))["work_order"]
    shown = json.loads(edge.installation.admin("order", "show", "WO-E", "--json"))["work_order"]
    assert opened == shown
    assert shown["bundle_sha256"] == bundle.hex()
    assert shown["firmware"] == {
        "app": {"version": "1.4.0", "digest": app.hex()},
        "boot": {"version": "2.0", "digest": boot.hex()},
    }
    table = edge.installation.admin("order", "show", "WO-E")
    assert all(text in table for text in (bundle.hex(), f"app 1.4.0 {app.hex()}", f"boot 2.0 {boot.hex()}"))
    file.write_text(named.replace("E-", "F-").replace("WO-E", "WO-F").replace(app.hex(), "12"), "utf-8")
    code, said = signerd(edge.installation, "order", "open", file)
    assert (code, "bundle.firmware.app" in said) == (1, True)


def test_chip_keys_are_for_their_owner_alone(edge: Edge, tmp_path: Path) -> None:
    chips, keys = tmp_path / "chips.txt", tmp_path / "keys.csv"
    chips.write_text("".join(f"k:{number}\n" for number in range(20)), "utf-8")
    arguments = ("chips", "personalize", chips, "--site", "lab", "--out", keys)
    assert "20 of 20" in edge.installation.admin(*arguments)
    assert keys.stat().st_mode & 0o777 == 0o600
    lines = keys.read_text("ascii").splitlines()
    assert (lines[0], len(lines), len(set(lines))) == ("chip_id,key", 21, 21)
    assert signerd(edge.installation, *arguments)[0] == 1  # it overwrites nothing
    locked = tmp_path / "locked.csv"
    code, _ = signerd(edge.installation, *arguments[:-1], locked, "--locked")
    assert code == 1  # known as not locked
    assert not locked.exists()
    again = tmp_path / "again.csv"
    assert "0 of 20" in edge.installation.admin(*arguments[:-1], again)
    assert again.read_text("ascii") == keys.read_text("ascii")


def root_pem(subject: str, *, days: int = 4000) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=5000))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode()


def x509_product(name: str, root: str) -> str:
    return (
        SENSOR.replace('"sensor"', f'"{name}"', 1)
        .replace('methods = ["hmac-sha256"]', 'methods = ["x509", "tpm2"]', 1)
        .replace("[certificate]", f'[evidence.x509]\nroots = ["""{root}"""]\n\n[certificate]', 1)
    )


def test_what_a_product_trusts_is_said_when_it_is_added(edge: Edge, tmp_path: Path) -> None:
    file, root = tmp_path / "vendor.toml", root_pem("Vendor Root CA")
    file.write_text(x509_product("vendor", root), "utf-8")
    said = edge.installation.admin("product", "add", file)
    digest = x509.load_pem_x509_certificate(root.encode()).fingerprint(hashes.SHA256()).hex()
    for part in (
        "x509, at most level chip",
        "root CN=Vendor Root CA",
        digest,
        "tpm2",
        "keys imported by chip",
    ):
        assert part in said
    assert hashlib.sha256(file.read_bytes()).hexdigest() in said
    file.write_text(x509_product("vendor", root_pem("Vendor Root CA", days=100)), "utf-8")
    added = json.loads(edge.installation.admin("product", "add", file, "--json"))
    assert added["product_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert any("evidence.x509.roots.0: it ends at" in note for note in added["lint_notes"])
    assert any("root CN=Vendor Root CA" in line for line in added["trust"])
    file.write_text(x509_product("vendor", root_pem("Vendor Root CA", days=-1)), "utf-8")
    code, said = signerd(edge.installation, "product", "add", file)
    assert (code, "evidence.x509.roots.0: it ended at" in said) == (1, True)


def identity_line(chip: str, *, number: int, key: ec.EllipticCurvePrivateKey | None = None) -> str:
    public = (key or new_key()).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    members = {
        "chip_id": chip,
        "key_id": "01" + number.to_bytes(32, "big").hex(),
        "public_key": base64.b64encode(spki).decode(),
    }
    return json.dumps(members) + "\n"


@pytest.fixture(scope="module")
def gateway(edge: Edge) -> Edge:
    """With a product whose chips have imported keys."""
    text = SENSOR.replace('"sensor"', '"gateway"', 1).replace('["hmac-sha256"]', '["psa-token"]', 1)
    edge.installation.add_product(f"{text}\n{PsaVendor().product_section()}")
    return edge


IMPORT = ("chips", "import-identities", "--product", "gateway", "--method", "psa-token")


def test_identities_are_imported_and_again_count_nothing(gateway: Edge, tmp_path: Path) -> None:
    file = tmp_path / "identities.jsonl"
    lines = [identity_line(f"again:{number}", number=number) for number in range(1, 1102)]
    file.write_text("\n".join(lines), "utf-8")  # with empty lines between
    said = gateway.installation.admin(*IMPORT, file, "--by", "ann@example.com")
    assert "1101 of 1101 identities are new for gateway, method psa-token" in said
    assert "lines/s" in said
    again = json.loads(gateway.installation.admin(*IMPORT, file, "--json"))
    assert again == {"product": "gateway", "method": "psa-token", "lines": 1101, "added": 0}
    file.write_text(file.read_text("utf-8") + identity_line("again:new", number=5000), "utf-8")
    assert "1 of 1102" in gateway.installation.admin(*IMPORT, file)
    wait_until(lambda: len(imported(gateway)) >= 6, "the entries to be published")
    entries = imported(gateway)[:2]
    assert [each["count"] for each in entries] == [1000, 101]
    assert {(each["by"], each["product"], each["method"]) for each in entries} == {
        ("ann@example.com", "gateway", "psa-token")
    }


def imported(edge: Edge) -> list[dict[str, Any]]:
    return [each for each in edge.entries() if each["type"] == "identities_imported"]


def test_who_imports_is_the_caller_unless_told(gateway: Edge, tmp_path: Path) -> None:
    file = tmp_path / "identities.jsonl"

    def noted(chip: str, number: int, **environment: str) -> str:
        file.write_text(identity_line(chip, number=number), "utf-8")
        before = len(imported(gateway))
        command = [str(SIGNERD), *IMPORT, str(file), "-c", str(gateway.installation.config)]
        bare = {name: value for name, value in os.environ.items() if name not in {"SUDO_USER", "USER"}}
        subprocess.run(command, env=bare | environment, check=True, timeout=60, capture_output=True)
        wait_until(lambda: len(imported(gateway)) > before, "the entry to be published")
        return str(imported(gateway)[-1]["by"])

    assert noted("by:1", 6001, SUDO_USER="ann", USER="root") == "ann"
    assert noted("by:2", 6002, USER="bob") == "bob"
    assert noted("by:3", 6003) == pwd.getpwuid(os.getuid()).pw_name


Key = ec.EllipticCurvePrivateKey


def private_key_line(key: Key) -> str:
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps({"chip_id": "a", "key_id": "00", "public_key": text})


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (lambda _: "{", "line 3: not a line of JSON"),
        (lambda _: identity_line("bad:1", number=7001)[:-2] + ', "chip_id": "b"}\n', "a member stands twice"),
        (lambda _: identity_line("bad:1", number=7001).replace('"01', '"0-1'), "two digits a byte"),
        (private_key_line, "line 3: a private key"),
        (
            lambda _: identity_line("bad:1", number=7001, key=ec.derive_private_key(1, ec.SECP256R1())),
            "line 3: chip bad:1: the public key: the private key can be guessed",
        ),
        (
            lambda _: identity_line("bad:1", number=7001).replace('"01', '"02'),
            "line 3: chip bad:1: key_id is not",
        ),
        (
            lambda _: identity_line("bad:0", number=7001),
            "line 3: chip bad:0: it is imported with another key id",
        ),
        (
            lambda _: identity_line("bad:1", number=7000),
            "line 3: chip bad:1: its key id is imported for chip bad:0",
        ),
        (
            lambda key: identity_line("bad:1", number=7001, key=key),
            "line 3: chip bad:1: its public key is imported for chip bad:0",
        ),
    ],
)
def test_a_bad_line_is_named_and_nothing_of_its_call_is_entered(
    gateway: Edge, tmp_path: Path, line: Callable[[Key], str], named: str
) -> None:
    file, key = tmp_path / "identities.jsonl", new_key()
    file.write_text("\n" + identity_line("bad:0", number=7000, key=key) + line(key), "utf-8")
    code, said = signerd(gateway.installation, *IMPORT, file)
    assert (code, named in said) == (1, True), said
    assert "BEGIN" not in said
    assert "are entered" not in said
    file.write_text(identity_line(f"free:{uuid4()}", number=uuid4().int, key=key), "utf-8")
    assert "1 of 1" in gateway.installation.admin(*IMPORT, file)  # its key is not taken


def test_what_was_entered_before_a_bad_line_is_told(gateway: Edge, tmp_path: Path) -> None:
    file = tmp_path / "identities.jsonl"
    lines = "".join(identity_line(f"half:{number}", number=8000 + number) for number in range(1000))
    file.write_text(lines + "{}\n", "utf-8")
    code, said = signerd(gateway.installation, *IMPORT, file)
    assert (code, "line 1001" in said, "1000 identities of the lines before are entered" in said) == (
        1,
        True,
        True,
    )
    file.write_text(lines, "utf-8")
    assert "0 of 1000" in gateway.installation.admin(*IMPORT, file)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"--product": "nothing"}, "no product 'nothing'"),
        ({"--method": "nrf91"}, "product gateway accepts psa-token in its newest revision, and not nrf91"),
        ({"--method": "x509"}, "rests on no imported keys"),
        ({"--by": "ann smith"}, "by must be"),
        ({"--by": "a" * 65}, "by must be"),
    ],
)
def test_an_import_that_means_nothing(
    gateway: Edge, tmp_path: Path, change: dict[str, str], named: str
) -> None:
    file = tmp_path / "identities.jsonl"
    file.write_text(identity_line("none:1", number=9001), "utf-8")
    options = {"--product": "gateway", "--method": "psa-token", "--by": "ann"} | change
    arguments = [part for option in options.items() for part in option]
    code, said = signerd(gateway.installation, "chips", "import-identities", *arguments, file)
    assert (code, named in said) == (1, True), said


def test_an_empty_list_and_none(gateway: Edge, tmp_path: Path) -> None:
    file = tmp_path / "identities.jsonl"
    code, said = signerd(gateway.installation, *IMPORT, file)
    assert (code, "No such file" in said) == (1, True)
    file.write_text("\n \n", "utf-8")
    code, said = signerd(gateway.installation, *IMPORT, file)
    assert (code, "holds no identity" in said) == (1, True)


def identities_request(*identities: admin_pb2.Identity) -> admin_pb2.ImportIdentitiesRequest:
    return admin_pb2.ImportIdentitiesRequest(
        product="gateway", method="psa-token", by="ann", identities=identities
    )


def test_a_call_that_the_command_would_not_send(gateway: Edge) -> None:
    spki = new_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    good = admin_pb2.Identity(chip_id="raw:1", key_id=b"\x01" * 33, spki=spki)
    send = gateway.admin.ImportIdentities
    assert send(identities_request(good), timeout=TIMEOUT_S).added == 1
    assert send(identities_request(*[good] * 1000), timeout=TIMEOUT_S).added == 0
    wrong = [
        identities_request(*[good] * 1001),
        identities_request(),
    ]
    for change in (
        {"chip_id": "a\nb"},
        {"chip_id": ""},
        {"spki": b""},
        {"spki": bytes(10**6)},
        {"key_id": b""},
    ):
        changed = admin_pb2.Identity(chip_id=good.chip_id, key_id=good.key_id, spki=good.spki)
        for name, value in change.items():
            setattr(changed, name, value)
        wrong.append(identities_request(changed))
    for request in wrong:
        with pytest.raises(grpc.RpcError) as refused:
            send(request, timeout=TIMEOUT_S)
        assert isinstance(refused.value, grpc.Call)
        said = refused.value.details() or ""
        assert said == "request_malformed" if request in wrong[:2] else said.startswith("invalid: ")


def test_a_crl(edge: Edge, tmp_path: Path) -> None:
    out = tmp_path / "dev.crl"
    edge.installation.admin("crl", "--out", out, "--hours", "24")
    assert len(x509.load_der_x509_crl(out.read_bytes())) == 0
    assert signerd(edge.installation, "crl", "--out", out, "--hours", "9000")[0] == 2
    assert signerd(edge.installation, "revoke", "NOBODY", "--reason", "keyCompromise")[0] == 1
    code, said = signerd(edge.installation, "revoke", "NOBODY", "--reason", "badMood")
    assert (code, "keyCompromise" in said) == (1, True)
    assert signerd(edge.installation, "revoke", "--reason", "keyCompromise")[0] == 2


def test_a_command_without_a_daemon(unstarted: Installation) -> None:
    code, said = signerd(unstarted, "order", "list")
    assert (code, "is it running" in said) == (4, True)


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    run([SIGNERD, "order", "list", "-c", tmp_path / "none.toml"], expect=3)


def test_a_database_of_before_is_upgraded_by_its_command(fresh: Installation) -> None:
    assert "the newest schema already" in fresh.admin("database", "upgrade")
    database, before = fresh.home / "signerd.sqlite", fresh.directory / "before.sqlite"
    make_at(before, "0001")
    with closing(sqlite3.connect(before)) as old:
        old.execute("ATTACH ? AS new", (str(database),))
        for table in ("entries", "head"):
            old.execute(f"INSERT INTO main.{table} SELECT * FROM new.{table}")
        old.commit()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    before.rename(database)
    for refused in ("run", "check-config"):
        code, said = signerd(fresh, refused)
        assert (code, "signerd database upgrade" in said) == (3, True), said
    assert "upgraded the database from schema 0001" in fresh.admin("database", "upgrade")
    fresh.start_signerd()
    assert "another signerd holds" in signerd(fresh, "database", "upgrade")[1]
    assert signerd(fresh, "order", "list")[0] == 0


def make_at(path: Path, revision: str) -> None:
    """A database of an earlier schema, empty."""
    config = Config()
    config.set_main_option("script_location", "signerd.adapters:migrations")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.upgrade(config, revision)
    engine.dispose()


def test_sigterm_ends_all_and_the_next_start_works(fresh: Installation) -> None:
    program = fresh.start_signerd()
    children = program.children()
    assert children
    assert program.stop() == 0
    wait_until(lambda: not any(child.is_running() for child in children), "the key holders to end")
    assert not (fresh.home / "admin" / "admin.sock").exists()
    fresh.start_signerd()


def test_a_killed_daemons_socket_does_not_keep_the_next_from_starting(fresh: Installation) -> None:
    program = fresh.start_signerd()
    orphans: list[psutil.Process] = program.children()
    program.kill()
    assert (fresh.home / "admin" / "admin.sock").exists()
    wait_until(lambda: not any(orphan.is_running() for orphan in orphans), "the key holder to follow")
    fresh.start_signerd()


def test_two_daemons_on_one_installation(fresh: Installation) -> None:
    fresh.start_signerd()
    code, said = signerd(fresh, "run")
    assert (code, "another signerd" in said) == (3, True)
    assert signerd(fresh, "order", "list")[0] == 0


@pytest.mark.parametrize(
    ("what", "mode", "named"), [("admin", 0o755, "0700"), ("operations/server.key", 0o644, "0600")]
)
def test_what_others_could_reach_is_refused(
    unstarted: Installation, what: str, mode: int, named: str
) -> None:
    path = unstarted.home / what
    before = path.stat().st_mode & 0o777
    path.chmod(mode)
    for command in ("run", "check-config"):
        code, said = signerd(unstarted, command)
        assert (code, named in said) == (3, True)
    path.chmod(before)


def test_a_wrong_pin(fresh: Installation) -> None:
    pin = fresh.home / "hsm.pin"
    pin.chmod(0o600)
    pin.write_text("wrong-pin\n", "ascii")
    pin.chmod(0o400)
    code, said = signerd(fresh, "run")
    assert (code, "wrong-pin" in said) == (77, False)
    assert signerd(fresh, "check-config")[0] == 0
    assert signerd(fresh, "check-config", "--login")[0] == 77


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('token = "birthmark-dev"', 'token = "birthmark-dev"\ncolour = 1', "hsm.colour"),
        ("[ledger]", "[ledger", "TOML"),
        ('key = "operations/server.key"', 'key = "operations/ca.key"', "is not the key of"),
        ('certificate = "ca/sub-ca.pem"', 'certificate = "operations/ca.pem"', "issued"),
        ('url = "sqlite:///signerd.sqlite"', 'url = "sqlite:///other.sqlite"', "signerd init"),
        ('origin = "dev.', 'origin = "other.', "origin"),
        ('head = "head/checkpoint"', 'head = "head/none"', "head/none"),
        ('socket = "admin/admin.sock"', 'socket = "none/admin.sock"', "none"),
    ],
)
def test_a_wrong_configuration_is_named(unstarted: Installation, old: str, new: str, named: str) -> None:
    with changed(unstarted, old, new):
        code, said = signerd(unstarted, "check-config")
        assert (code, named in said) == (3, True), said


def test_check_config_finds_a_module_that_is_none(unstarted: Installation) -> None:
    module = unstarted.directory / "module.so"
    module.write_bytes(b"no module")
    text = unstarted.config.read_text("utf-8")
    old = next(line for line in text.splitlines() if line.startswith("module = "))
    with changed(unstarted, old, f'module = "{module}"'):
        code, said = signerd(unstarted, "check-config")
    assert (code, "hsm.module" in said) == (3, True)


def test_systemd_hears_of_the_start_and_the_end(fresh: Installation) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(fresh.directory / "notify"))
        systemd.settimeout(30)
        program = fresh.start_signerd({"NOTIFY_SOCKET": str(fresh.directory / "notify")})
        assert systemd.recv(100) == b"READY=1"
        assert program.stop() == 0
        assert systemd.recv(100) == b"STOPPING=1"


def test_metrics_are_served_locally(fresh: Installation) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    change(fresh, "\n[database]", f'\n[metrics]\nlisten = "127.0.0.1:{port}"\n\n[database]')
    fresh.start_signerd()
    fresh.admin("order", "list")

    def scraped() -> str:
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: line.recv(65536), b"")).decode("utf-8")

    wait_until(lambda: "signerd_ledger_published_size 1.0" in scraped(), "the first checkpoint")
    text = scraped()
    for name in (
        'signerd_calls_total{code="ok",rpc="ListWorkOrders"}',
        "signerd_call_seconds_bucket",
        "signerd_serving 1.0",
        "signerd_resident_bytes",
        "signerd_open_intents 0.0",
        "signerd_key_holder_restarts_total 0.0",
    ):
        assert name in text, text
    fresh.process.stop()
    change(fresh, f"127.0.0.1:{port}", f"0.0.0.0:{port}")
    code, said = signerd(fresh, "run")
    assert (code, "metrics.listen" in said) == (3, True)
