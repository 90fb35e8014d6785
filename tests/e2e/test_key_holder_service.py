"""The key holder as a service: boards of orders that administrators signed, and of no others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from harness.factory import WORK_ORDER, Run
from harness.further_issuers import signed
from harness.held_factory import HeldFactory
from harness.process import run, wait_until
from harness.restored import goes_on_from_backup
from harness.signerd_commands import signerd
from harness.softhsm_token import new_token
from signerd.adapters.keyholder.service.shown_ends import file_beside

pytestmark = pytest.mark.check


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeldFactory]:
    with HeldFactory(tmp_path_factory.mktemp("held")) as factory:
        yield factory


def test_boards_of_an_order_of_before_and_of_one_that_was_approved(factory: HeldFactory) -> None:
    old = factory.new_run(boards=2)
    assert old.start_agent().wait() == 0
    factory.finished_once(old)
    factory.open("WO-2", quantity=3)
    new = factory.run_of("WO-2", boards=3)
    assert new.start_agent().wait() == 0
    factory.finished_once(new)
    counted = {order["work_order"]: order["places"] for order in factory.status()["orders"]}
    assert counted == {WORK_ORDER: 2, "WO-2": 3}
    assert factory.verify()


def test_an_order_of_which_another_key_holder_has_a_share(factory: HeldFactory) -> None:
    order = factory.order("WO-3", quantity=3)
    terms = order.read_text("utf-8")

    def share(main: int, other: int) -> None:
        said = f"quantity = 3\nshares = {{ main = {main}, other = {other} }}\n"
        order.write_text(terms.replace("quantity = 3\n", said), "utf-8")

    share(1, 1)
    assert "shares come to 2, not to the quantity" in signerd(factory.installation, "order", "open", order)[1]
    share(1, 2)
    factory.approved("order", "open", order)
    line = factory.run_of("WO-3", boards=2)
    assert line.start_agent().wait() == 1
    assert sorted(line.outcomes().values()) == ["", "order_full"]
    give = ("order", "give-share", "WO-3", "--from", "other", "--to", "main", "--places", "2")
    assert "2 places of WO-3 are main's" in factory.approved(*give)
    assert line.start_agent().wait() == 0
    factory.finished_once(line)
    release = (factory.installation.commands / "signerd", "key-holder", "release", "-c", factory.settings)
    run([*release, "WO-3", "2"], expect=1)
    assert "2 places of WO-3 stay with this key holder" in run([*release, "WO-3", "1"])
    assert {each["share"] for each in factory.status()["orders"] if each["work_order"] == "WO-3"} == {2}
    assert factory.verify()


def test_the_logs_key_gets_a_successor_in_the_service(factory: HeldFactory, tmp_path: Path) -> None:
    add = ("checkpoint-key", "add", "--key-holder", factory.settings)
    said = factory.approved(*add)
    key = re.search(r"^key ([0-9a-f]{8}) is announced", said, re.MULTILINE)
    assert key is not None
    factory.restart()
    factory.installation.admin("checkpoint-key", "activate", key[1])
    certified(factory)
    first, second = json.loads(factory.installation.admin("checkpoint-key", "list", "--json"))
    with (factory.station.directory / "log.vkey").open("a", encoding="utf-8") as pinned:
        pinned.write(f"{second['vkey']}\n")
    factory.approved("checkpoint-key", "retire", first["key"], "--reason", "superseded")
    certified(factory)
    assert factory.verify()
    goes_on_from_backup(factory.installation, tmp_path / "backup")
    certified(factory)
    assert factory.verify()


def test_an_issuer_in_another_token_of_the_services(factory: HeldFactory, tmp_path: Path) -> None:
    held, admin = ("--key-holder", factory.settings), factory.installation.admin
    root = factory.installation.home / "root"
    request = admin("ca", "request", "next", *new_token(tmp_path / "second"), *held, "--json")
    asked = Path(json.loads(request)["request"])
    assert asked.is_relative_to(factory.settings.parent)
    sub_ca = signed(asked, root / "root.pem", root / "root.key", tmp_path / "next.pem")
    add = ("ca", "add", "next", "--certificate", sub_ca, "--root", root / "root.pem", *held)
    assert "restart the key holder's service, then signerd" in factory.approved(*add)
    factory.restart()
    assert issuer_of(factory, certified(factory)) != issuer_name(sub_ca)
    factory.approved("ca", "activate", "next")
    assert issuer_of(factory, certified(factory)) == issuer_name(sub_ca)
    admin("crl", "--issuer", "next", "--out", tmp_path / "next.crl")
    assert factory.verify()


def test_what_ends_at_the_service_alone(factory: HeldFactory) -> None:
    """The root that it has ends before the one that signerd has."""
    copy = factory.settings.parent / "root-of-main.pem"
    key = load_pem_private_key((factory.installation.home / "root" / "root.key").read_bytes(), None)
    copy.write_bytes(ending_sooner(x509.load_pem_x509_certificate(copy.read_bytes()), key))
    factory.restart()
    name = "as the key holder has it"
    found = [
        end for end in json.loads(factory.installation.admin("calendar", "--json")) if name in end["name"]
    ]
    assert [(end["which"], end["soon"]) for end in found] == [("root", True)]
    assert re.search(f"ENDS SOON: root .*, {name} on ", factory.installation.admin("check-config"))
    process = factory.installation.process
    wait_until(lambda: name in process.errors(), "signerd to warn", program=process)
    soon = next(end for end in factory.status()["ends"] if end["which"] == "root")
    assert soon["not_after"] == found[0]["at"]
    command = (factory.installation.commands / "signerd", "key-holder", "status", "-c", factory.settings)
    assert re.search("root .* ends on .*  ENDS SOON: give verifiers", run(command))
    file_beside(factory.service_socket).write_text("{}")
    assert name not in factory.installation.admin("calendar")
    said = factory.installation.admin("check-config", expect=3)
    assert "is not what a key holder's service writes" in said
    factory.restart()
    assert name in factory.installation.admin("calendar", "--json")


def ending_sooner(certificate: x509.Certificate, key: PrivateKeyTypes) -> bytes:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC).replace(microsecond=0)
    builder = x509.CertificateBuilder().subject_name(certificate.subject).issuer_name(certificate.issuer)
    builder = builder.public_key(certificate.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=30))
    for extension in certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def issuer_of(factory: HeldFactory, line: Run) -> str:
    (record,) = factory.records(line)
    return x509.load_der_x509_certificate(record.certificate_der).issuer.rfc4514_string()


def issuer_name(sub_ca: Path) -> str:
    return x509.load_pem_x509_certificate(sub_ca.read_bytes()).subject.rfc4514_string()


def certified(factory: HeldFactory) -> Run:
    line = factory.new_run(boards=1)
    assert line.start_agent().wait() == 0
    factory.finished_once(line)
    return line
