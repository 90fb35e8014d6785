"""What is signed or kept: docs/formats.md, "Versions", names each form that there is, and today's programs
read those in tests/vectors/forms. Databases: tests/integration/test_databases_of_before.py."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.core.bundle_verify import verify_bundle
from agent.core.certificate import request_spki
from agent.core.log_keys import parse_log_keys
from agent.core.receipt import require, verify_receipt
from agent.core.result_row import csv_key, json_key
from auditor.core import claims as auditor_claims
from auditor.core import entry as auditor_entry
from auditor.core import proofs as auditor_proofs
from auditor.core import stamp as auditor_stamp
from auditor.core.certificate import Issuer, Leaf, check_extension, read_leaf
from auditor.core.entry import Issued, parse_entry
from auditor.core.identities import read_identities
from auditor.core.product import read_product
from auditor.errors import CheckFailed, Malformed
from birthmark.proof import open_checkpoint
from harness.form_fixtures import MASTER_KEY, SESSION_KEY, TOKEN_KEY
from harness.paper_certificates import new_key
from harness.session_keys import EveryDay
from signerd.core import entry as signerd_entry
from signerd.core import note, strict_cbor
from signerd.core.approval.statement import parse_statement
from signerd.core.approved_order import ApprovedOrder
from signerd.core.chip_key import BurnedKey, derive_chip_key
from signerd.core.csr import VerifiedCsr, check_csr
from signerd.core.evidence import transcript
from signerd.core.evidence.claims import parse_claims
from signerd.core.evidence_extension import parse as parse_extension
from signerd.core.identity_list import IdentityError, parse_line
from signerd.core.names import KeyType
from signerd.core.order_file import ProductRevision, parse_order_file
from signerd.core.product import parse_product
from signerd.core.recipient import Recipient
from signerd.core.sealing import KeyRole, open_into, read_sealed
from signerd.core.session import SessionSealer
from signerd.core.stamp import check_signature, parse_stamp
from signerd.core.succession import read_succession
from signerd.errors import Code, Refused

REPOSITORY = Path(__file__).parents[2]
FORMS = REPOSITORY / "tests" / "vectors" / "forms"
_EVERY = ("v", "type", "id", "time", "by")  # members of every entry
_BEGIN = datetime(2026, 11, 15, tzinfo=UTC)
IN_INTEGRATION = {
    "reference of signerd's clock", "journal of a station", "state of an auditor", "production file",
}  # fmt: skip
ENTRY_FORMS = (1, 2, 3)
SINCE_FORM_3 = {"signerd_started", "signerd_stopped", "log_succeeded"}
OF_FORM_1 = {  # of which no more come
    "log_opened", "station_added", "auditor_added", "station_revoked", "auditor_revoked", "product_added",
    "order_opened", "order_closed", "chips_imported", "chips_personalized", "identities_imported", "issued",
    "stamped", "revoked", "refused", "intent_open", "shared_primes_found", "crl_issued",
}  # fmt: skip


def read(name: str) -> bytes:
    return (FORMS / name).read_bytes()


def text(name: str) -> str:
    return read(name).decode("utf-8")


def rows() -> dict[str, list[str]]:
    """The cells of each row, by what it is of."""
    section = (REPOSITORY / "docs" / "formats.md").read_text("utf-8").split("\n## Versions\n")[1]
    table = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in table[1:]}


def test_the_page_names_every_file_and_no_other() -> None:
    named = [name for cells in rows().values() for name in re.findall(r"`([^`]+)`", cells[3])]
    assert sorted(named) == sorted(path.name for path in FORMS.iterdir() if path.name != "README.md")


def test_the_page_names_every_version() -> None:
    for what, (versions, _, _, files) in rows().items():
        found = set(re.findall(r"-(\d+)\.", files))
        assert found == set(versions.split(", ")), what


def test_each_row_is_read_by_whom_it_names() -> None:
    named = {(what, program) for what, cells in rows().items() for program in cells[2].split(", ")}
    assert {pair for pair in named if pair[0] not in IN_INTEGRATION} == READERS.keys()


def types_in(module: ModuleType, base: type[Any]) -> dict[str, type[Any]]:
    """Classes of entries, by what they call themselves."""
    found = (each for each in vars(module).values() if isinstance(each, type) and issubclass(each, base))
    return {kind.type: kind for kind in found if hasattr(kind, "type")}


WRITTEN = types_in(signerd_entry, signerd_entry.Entry)
READ = types_in(auditor_entry, auditor_entry.Entry)


def test_there_is_a_line_of_each_type_of_entry() -> None:
    """What signerd writes, what an auditor reads, and what is kept here are the same types."""
    kept = {form: {json.loads(data)["type"] for data in entries(form)} for form in ENTRY_FORMS}
    assert kept == {1: OF_FORM_1, 2: WRITTEN.keys() - SINCE_FORM_3, 3: WRITTEN.keys()}
    assert kept[3] == READ.keys()


def test_a_line_says_all_that_signerd_writes_today() -> None:
    """`if_said` alone may be missing, and stands in one of them."""
    seen: dict[str, set[str]] = {}
    for data in entries(3):
        entry = json.loads(data)
        assert rfc8785.dumps(entry) == data
        seen.setdefault(entry["type"], set()).update(entry.keys() - {"v", "type", "id"})
    assert seen == {name: {item.name for item in fields(kind)} for name, kind in WRITTEN.items()}


def entries(form: int) -> list[bytes]:
    return read(f"entries-{form}.jsonl").splitlines()


def the_statement_is_read(entry: dict[str, Any]) -> None:
    """As `key-holder take-over`, a start beside a service and the service itself do."""
    assert parse_statement(entry["statement"].encode("ascii")).action == entry["action"]


def the_order_is_read(entry: dict[str, Any]) -> None:
    """As a key holder's service does, of what was approved and of what it takes over."""
    order = ApprovedOrder.of({name: value for name, value in entry.items() if name not in _EVERY})
    assert order.share_of("main") == entry.get("shares", {"main": order.quantity})["main"]


def the_key_is_read(entry: dict[str, Any]) -> None:
    """As `read_log_keys` does at each start."""
    assert note.parse_vkey(entry["vkey"]).text() == entry["vkey"]


def the_succession_is_read(entry: dict[str, Any]) -> None:
    """As `read_log_keys` and a start do."""
    assert read_succession(entry["continued"], entry).number == entry["number"]


READ_AGAIN: dict[str, Callable[[dict[str, Any]], None]] = {
    "action_approved": the_statement_is_read,
    "order_opened": the_order_is_read,
    "checkpoint_key_added": the_key_is_read,
    "checkpoint_key_activated": the_key_is_read,
    "checkpoint_key_retired": the_key_is_read,
    "log_succeeded": the_succession_is_read,
}


def signerd_entries() -> None:
    """It writes the newest form; it looks at times and types of what stands there (`store.log.moments`), and
    at all of some."""
    for form in ENTRY_FORMS:
        for data in entries(form):
            entry = json.loads(data)
            assert (entry["v"], {"type", "time"} <= entry.keys()) == (form, True)
            if (read_again := READ_AGAIN.get(entry["type"])) is not None and form >= 2:
                read_again(entry)


def agent_entries() -> None:
    for form in ENTRY_FORMS:
        issued = next(data for data in entries(form) if json.loads(data)["type"] == "issued")
        require(issued, {"type": "issued", "level": json.loads(issued)["level"]})


def auditor_entries() -> None:
    for form in ENTRY_FORMS:
        parsed = [parse_entry(data) for data in entries(form)]
        assert {entry.form for entry in parsed} == {form}


def signerd_checkpoint() -> None:
    key = note.parse_vkey(text("log-1.vkey").strip())
    assert note.open_checkpoint(read("checkpoint-1.txt"), key).size == len(entries(1))


def agent_checkpoint() -> None:
    key = parse_log_keys(text("log-1.vkey"))
    assert open_checkpoint(read("checkpoint-1.txt"), key.verifiers).size == len(entries(1))


def auditor_checkpoint_() -> None:
    key = auditor_proofs.parse_vkey(text("log-1.vkey").strip())
    assert auditor_proofs.open_checkpoint(read("checkpoint-1.txt"), key).size == len(entries(1))


def agent_receipt() -> None:
    entry = read("receipt-entry-1.json")
    index = entries(1).index(entry)
    verify_receipt(read("receipt-1.txt"), entry, index, parse_log_keys(text("log-1.vkey")))


def chip_id() -> str:
    return str(strict_cbor.decode(read("transcript-1.cbor"), max_bytes=4096)[2])


def csr() -> VerifiedCsr:
    return check_csr(read("csr-1.der"), accepted=(KeyType.P256,))


def signerd_transcript() -> None:
    made = transcript.transcript(
        read("challenge-1.bin"),
        chip_id(),
        csr().evidence_digest,
        parse_claims(read("claims-1.cbor")),
    )
    assert made == read("transcript-1.cbor")


def auditor_transcript() -> None:
    made = auditor_claims.transcript(
        challenge=read("challenge-1.bin"),
        chip_id=chip_id(),
        csr_sha256=hashlib.sha256(read("csr-1.der")).digest(),
        claims=auditor_claims.parse_claims(read("claims-1.cbor")),
    )
    assert made == read("transcript-1.cbor")


def certificate() -> x509.Certificate:
    return x509.load_der_x509_certificate(read("certificate-1.der"))


def signerd_stamp() -> None:
    assert parse_stamp(read("stamp-1.cbor")).chip_id == chip_id()
    check_signature(csr().key, read("stamp-1.cbor"), read("stamp-1.sig"))


def agent_stamp() -> None:
    """Of what it reads in a stamp, only the receipt of one is kept: `check_stamp_receipt`."""
    digest = hashlib.sha256(read("stamp-1.cbor")).hexdigest()
    require(read("receipt-entry-1.json"), {"type": "stamped", "stamp_sha256": digest})


def auditor_stamp_() -> None:
    assert auditor_stamp.parse_stamp(read("stamp-1.cbor")).chip_id == chip_id()


def auditor_settings() -> None:
    serial_number, ordered = auditor_claims.split_settings(read("settings-1.cbor"))
    assert (serial_number, ordered) == (
        auditor_stamp.parse_stamp(read("stamp-1.cbor")).serial_number,
        b"\xa0",
    )


def signerd_session() -> None:
    session = SessionSealer(EveryDay(SESSION_KEY)).open(read("session-1.bin"))
    assert session is not None
    assert session.chip_id == "chip:1"


def signerd_chip_keys() -> None:
    def mac(data: bytes) -> bytes:
        return hmac.digest(MASTER_KEY, data, "sha256")

    derived = {kind.value: derive_chip_key(mac, "chip:1", *kind.mac_key).hex() for kind in BurnedKey}
    assert derived == json.loads(text("chip-keys-1.json"))


def signerd_sealed_secrets() -> None:
    def exchange(point: bytes) -> bytes:
        return TOKEN_KEY.exchange(
            ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(TOKEN_KEY.curve, point)
        )

    sealed, opened = read_sealed(read("sealed-1.json")), bytearray(32)
    open_into(sealed, KeyRole.CHIP_MASTER, Recipient.of(TOKEN_KEY.public_key()), exchange, memoryview(opened))
    assert opened == MASTER_KEY


def signerd_certificate() -> None:
    sub_ca = x509.load_der_x509_certificate(read("sub-ca-1.der"))
    certificate().verify_directly_issued_by(sub_ca)
    crl = x509.load_der_x509_crl(read("crl-1.der"))
    assert crl.is_signature_valid(sub_ca.public_key())  # type: ignore[arg-type]  # P-256
    assert [revoked.serial_number for revoked in crl] != [certificate().serial_number]


def agent_certificate() -> None:
    public = request_spki(read("csr-1.der"))
    assert hashlib.sha256(public).hexdigest() in text("entries-1.jsonl")


def auditor_certificate() -> None:
    issued = next(entry for entry in map(parse_entry, entries(1)) if isinstance(entry, Issued))
    sub_ca = x509.load_der_x509_certificate(read("sub-ca-1.der"))
    identifier = sub_ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    valid = sub_ca.not_valid_before_utc, sub_ca.not_valid_after_utc
    leaf = read_leaf(read("certificate-1.der"), Issuer(sub_ca, (sub_ca,), identifier, *valid))
    assert hashlib.sha256(leaf.spki).digest() == issued.spki_sha256
    check_extension(leaf, issued, None)


def signerd_extension() -> None:
    statement = parse_extension(read("certificate-extension-1.der"))
    assert (statement.method, statement.evidence_sha256) == ("x509", hashlib.sha256(b"evidence").digest())


def auditor_extension() -> None:
    oid = x509.ObjectIdentifier("1.3.6.1.4.1.32473.1")
    name, key = x509.Name([]), new_key()
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, _BEGIN, _BEGIN)
    extension = x509.UnrecognizedExtension(oid, read("certificate-extension-1.der"))
    made = builder.add_extension(extension, critical=False).sign(key, hashes.SHA256())
    issued = next(entry for entry in map(parse_entry, entries(1)) if isinstance(entry, Issued))
    told = replace(issued, level="key", method="x509", evidence_sha256=hashlib.sha256(b"evidence").digest())
    check_extension(Leaf(b"", made, key.public_key(), b""), told, oid.dotted_string)


def agent_bundle() -> None:
    bundle, images = verify_bundle(
        read("bundle-1.zip"), Ed25519PublicKey.from_public_bytes(read("bundle-1.key"))
    )
    assert (bundle.manifest.product, len(images)) == ("sensor", 5)


def signerd_product() -> None:
    assert parse_product(text("product-1.toml")) == parse_product("v = 1\n" + text("product-1.toml"))
    for other in ("2", "true", "1.0", '"1"'):
        with pytest.raises(Refused, match="v: ") as refused:
            parse_product(f"v = {other}\n" + text("product-1.toml"))
        assert refused.value.code is Code.INVALID


def auditor_product_() -> None:
    data = read("product-1.toml")
    assert read_product(data) == read_product(b"v = 1\n" + data)
    for other in (b"2", b"true", b"1.0", b'"1"'):
        with pytest.raises(Malformed, match="form"):
            read_product(b"v = " + other + b"\n" + data)


def signerd_order() -> None:
    revision = ProductRevision(parse_product(text("product-1.toml")), bytes(32))
    order = text("order-1.toml")
    plain = parse_order_file(order, lambda _: revision)
    assert plain.work_order == tomllib.loads(order)["work_order"]
    assert parse_order_file("v = 1\n" + order, lambda _: revision) == plain
    for other in ("2", "true", "1.0", '"1"'):
        with pytest.raises(Refused, match="v: ") as refused:
            parse_order_file(f"v = {other}\n" + order, lambda _: revision)
        assert refused.value.code is Code.INVALID


def with_form(line: str, form: object) -> str:
    return json.dumps({"v": form} | json.loads(line))


def signerd_identities() -> None:
    line = text("identities-1.jsonl").strip()
    assert parse_line(line.encode()) == parse_line(with_form(line, 1).encode())
    for other in (2, True, 1.0, "1", None):
        with pytest.raises(IdentityError, match="form"):
            parse_line(with_form(line, other).encode())


def auditor_identities() -> None:
    line = text("identities-1.jsonl")
    assert read_identities([line]) == read_identities([with_form(line, 1)])
    for other in (2, True, 1.0, "1", None):
        with pytest.raises((Malformed, CheckFailed), match="form"):
            read_identities([with_form(line, other)])


def agent_results() -> None:
    key = (1, "2026-11-15T12:00:00.000+00:00", "PASS", "")
    row = text("results-1.jsonl").strip()
    assert json_key(row.encode()) == json_key(with_form(row, 1).encode()) == key
    assert csv_key(read("results-1.csv").splitlines(keepends=True)[1]) == key


READERS: Mapping[tuple[str, str], Callable[[], None]] = {
    ("ledger entry", "signerd"): signerd_entries,
    ("ledger entry", "agent"): agent_entries,
    ("ledger entry", "auditor"): auditor_entries,
    ("checkpoint, also in the second place", "signerd"): signerd_checkpoint,
    ("checkpoint, also in the second place", "agent"): agent_checkpoint,
    ("checkpoint, also in the second place", "auditor"): auditor_checkpoint_,
    ("receipt", "agent"): agent_receipt,
    ("evidence transcript, with claims and challenge", "signerd"): signerd_transcript,
    ("evidence transcript, with claims and challenge", "auditor"): auditor_transcript,
    ("stamp", "signerd"): signerd_stamp,
    ("stamp", "agent"): agent_stamp,
    ("stamp", "auditor"): auditor_stamp_,
    ("settings", "auditor"): auditor_settings,
    ("session", "signerd"): signerd_session,
    ("keys of chips", "signerd"): signerd_chip_keys,
    ("sealed secrets", "signerd"): signerd_sealed_secrets,
    ("certificate of a board, its sub-CA's, CRL", "signerd"): signerd_certificate,
    ("certificate of a board, its sub-CA's, CRL", "agent"): agent_certificate,
    ("certificate of a board, its sub-CA's, CRL", "auditor"): auditor_certificate,
    ("certificate extension", "signerd"): signerd_extension,
    ("certificate extension", "auditor"): auditor_extension,
    ("bundle", "agent"): agent_bundle,
    ("product file", "signerd"): signerd_product,
    ("product file", "auditor"): auditor_product_,
    ("work order file", "signerd"): signerd_order,
    ("identity list", "signerd"): signerd_identities,
    ("identity list", "auditor"): auditor_identities,
    ("result rows", "agent"): agent_results,
}


@pytest.mark.parametrize(("what", "program"), READERS)
def test_today_s_programs_read_each(what: str, program: str) -> None:
    READERS[what, program]()
