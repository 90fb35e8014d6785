"""The product file, as far as evidence and stamps are judged by it (docs/formats.md, "Product file").

The company wrote it, and its digest stands in the ledger: it is what evidence is measured by. A rule that
this reader does not know is refused, so that none is passed over.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from auditor.core import forms
from auditor.core.chip_form import ChipForm, read_chip_form
from auditor.core.chip_rule import ChipRule, read_chip_rule
from auditor.core.csr import X509_ERRORS
from auditor.core.entry import LEVELS
from auditor.core.evidence.certificate import Certificate, read_pem
from auditor.core.issuers import FIRST
from auditor.errors import Malformed

MAX_PRODUCT = 32_768  # bytes
METHODS = ("hmac-sha256", "x509", "psa-token", "nrf91", "tpm2", "none")
_MAX_ROOTS = 16
_MAX_MEASUREMENTS = 64
_MAX_IDS = 16
_MAX_LOCKS = 16
MAX_BACKDATE = timedelta(days=1)
_IMPLEMENTATION_ID = 32  # bytes
_UUID = (16,)  # bytes
_HASHES = (32, 48, 64)  # bytes: SHA-256, SHA-384, SHA-512
_MAX_CHAIN = 6  # certificates
_LISTED_BY = forms.one_of("id", "key", "ueid")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One accepted state of one firmware component. `signer` None: whoever signed it."""

    component: str
    version: str
    digest: bytes
    signer: bytes | None


@dataclass(frozen=True, slots=True)
class ProductRules:
    """What a product trusts and demands."""

    name: str
    methods: tuple[str, ...]
    level: str
    listed: bool  # each chip stands on the work order's list
    chip_ids: ChipForm | None  # the form of its chips' ids; None: any
    minimum_firmware: Mapping[str, str]
    extension: str | None  # OID of the certificate extension that tells the evidence
    required_locks: tuple[str, ...]
    roots: Mapping[str, tuple[Certificate, ...]]  # by method
    chip_id: Mapping[str, ChipRule]  # by method
    vendor_cas: int | None  # x509: CAs below the root that are the vendor's; None: as chains show it
    born_keys: bool  # x509: the vendor certifies only keys that are born in the chip
    aks_only: bool  # tpm2: the pinned CAs themselves sign certificates of attestation keys and no others
    measurements: Mapping[str, tuple[Measurement, ...]]  # by method
    implementation_ids: frozenset[bytes]
    client_ids: frozenset[int]  # psa-token: callers that count; empty: any
    ca: str  # whose issuer issues
    backdate: timedelta  # so much before its place was taken a certificate begins


def read_product(data: bytes) -> ProductRules:
    """Reads a product file. Raises Malformed."""
    if len(data) > MAX_PRODUCT:
        raise Malformed("the product file is too large")
    try:
        file = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise Malformed("the product file is not TOML") from error
    if type(form := file.get("v", 1)) is not int or form != 1:
        raise Malformed(f"of another form, {repr(form)[:32]}, than this auditor reads")
    evidence = _table(file, "evidence")
    methods = _many(evidence.pop("methods", None), forms.one_of(*METHODS), "methods", len(METHODS))
    if not methods or len(set(methods)) != len(methods):
        raise Malformed("methods: none, or one twice")
    sections = {method: _table(evidence, method) for method in METHODS}
    roots, chip_id, measurements = {}, {}, {}
    for method in ("x509", "tpm2"):
        section = sections[method]
        roots[method] = _many(section.pop("roots", []), _root, f"{method}: roots", _MAX_ROOTS)
        chip_id[method] = read_chip_rule(section.pop("chip_id", "serialNumber"), of_tpm=method == "tpm2")
    for method, form in (
        ("x509", _measurement(_HASHES)),
        ("psa-token", _measurement(_HASHES, signer=True)),
        ("nrf91", _measurement(_UUID)),
    ):
        given = sections[method].pop("measurements", [])
        measurements[method] = _many(given, form, f"{method}: measurements", _MAX_MEASUREMENTS)
    listed = forms.one_of("any", "listed")(evidence.pop("chips", "any")) == "listed"
    _check_listed_by(evidence.pop("listed_by", None), listed=listed)
    rules = ProductRules(
        name=forms.name(file.get("name")),
        methods=methods,
        level=forms.one_of(*LEVELS)(evidence.pop("level", LEVELS[0])),
        listed=listed,
        chip_ids=forms.optional(read_chip_form)(evidence.pop("chip_ids", None)),
        minimum_firmware=forms.versions(_table(evidence, "minimum_firmware")),
        extension=forms.optional(forms.private_oid)(evidence.pop("certificate_extension", None)),
        required_locks=_many(
            _table(file, "stamp").get("required_locks", []), forms.component, "required_locks", _MAX_LOCKS
        ),
        roots=roots,
        chip_id=chip_id,
        vendor_cas=forms.optional(_vendor_cas)(sections["x509"].pop("vendor_cas", None)),
        born_keys=forms.boolean(sections["x509"].pop("certifies_born_keys", False)),
        aks_only=forms.boolean(sections["tpm2"].pop("certifies_aks_only", False)),
        measurements=measurements,
        implementation_ids=frozenset(
            _many(sections["psa-token"].pop("implementation_ids", []), _implementation_id, "ids", _MAX_IDS)
        ),
        client_ids=frozenset(
            _many(sections["psa-token"].pop("client_ids", []), _client, "clients", _MAX_IDS)
        ),
        ca=forms.name(_table(file, "certificate").get("ca", FIRST)),
        backdate=_backdate(_table(file, "certificate").get("backdate_s", 0)),
    )
    unknown = [*evidence, *(key for section in sections.values() for key in section)]
    if unknown:
        raise Malformed(f"rules that are not known here: {', '.join(sorted(unknown))[:100]}")
    return rules


def _check_listed_by(value: Any, *, listed: bool) -> None:
    """By what chips are listed decides at the session alone: the ledger counts them whichever it was."""
    if value is None:
        return
    ways = _many(value, _LISTED_BY, "listed_by", 3)
    if not ways or len(set(ways)) != len(ways) or not listed:
        raise Malformed('listed_by: none, or one twice, or without chips = "listed"')


def _vendor_cas(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MAX_CHAIN:
        raise Malformed("vendor_cas is not 0 to 5")
    return value


def _table(parent: dict[str, Any], key: str) -> dict[str, Any]:
    """Takes a table out of its parent; an empty one where it is absent."""
    value = parent.pop(key, {})
    if not isinstance(value, dict):
        raise Malformed(f"{key} is not a table")
    return dict(value)


def _many(value: Any, form: Callable[[Any], Any], what: str, most: int) -> tuple[Any, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise Malformed(f"{what} is not an array of at most {most}")
    try:
        return tuple(form(item) for item in value)
    except Malformed as error:
        raise Malformed(f"{what}: {error}") from error


def _root(value: Any) -> Certificate:
    try:
        certificate = read_pem(str(value))
        key = load_der_public_key(certificate.spki)
    except X509_ERRORS as error:
        raise Malformed("is not a certificate in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise Malformed("has a key that cannot sign certificates here")
    return certificate


def _measurement(sizes: tuple[int, ...], *, signer: bool = False) -> Callable[[Any], Measurement]:
    """The form of one measurement: a digest of one of these sizes, and perhaps the signer's id."""
    wanted = {"component", "version", "digest"}

    def form(value: Any) -> Measurement:
        if not isinstance(value, dict) or value.keys() - ({"signer"} if signer else set()) != wanted:
            raise Malformed("is not {component, version, digest}")
        forms.version_key(value["version"])
        by = None if "signer" not in value else _digest(value["signer"], _HASHES)
        digest = _digest(value["digest"], sizes)
        return Measurement(forms.component(value["component"]), value["version"], digest, by)

    return form


def _digest(value: Any, sizes: tuple[int, ...]) -> bytes:
    data = _hex(value)
    if len(data) not in sizes:
        raise Malformed("is of another size than a measurement")
    return data


def _implementation_id(value: Any) -> bytes:
    data = _hex(value)
    if len(data) != _IMPLEMENTATION_ID:
        raise Malformed("is not of 32 bytes")
    return data


def _backdate(value: Any) -> timedelta:
    if type(value) is not int or not 0 <= value <= MAX_BACKDATE.total_seconds():
        raise Malformed("backdate_s is not 0 to 86,400")
    return timedelta(seconds=value)


def _client(value: Any) -> int:
    if type(value) is not int:
        raise Malformed("is not a number")
    return value


def _hex(value: Any) -> bytes:
    try:
        return bytes.fromhex(value)
    except (ValueError, TypeError) as error:
        raise Malformed("is not hexadecimal") from error
