"""The product file's section `[evidence]`: which methods count, and what each of them trusts.

All of it is fixed when a work order is opened, since an order keeps its product's revision. The form is in
docs/formats.md, "Product file".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    model_validator,
)

from signerd.core.chip_form import ChipForm, parse_form
from signerd.core.evidence.certificate import Certificate, read_pem
from signerd.core.evidence.chain import MAX_CERTIFICATES
from signerd.core.evidence.chip_rules import SERIAL_NUMBER, ChipId, ChipIdRule
from signerd.core.names import Level, is_component
from signerd.core.version import version_key

MAX_ROOTS = 16
MAX_MEASUREMENTS = 64
MAX_COMPONENTS = 16  # as in claims
HASH_BYTES = frozenset({32, 48, 64})  # SHA-256, SHA-384, SHA-512; psa-hash-type (RFC 9783 §4)
# iso.org.dod.internet.private.enterprise (RFC 1155 §3.1.4): nothing of RFC 5280 can be meant by it.
PRIVATE_ENTERPRISES = "1.3.6.1.4.1."
_UUID_BYTES = frozenset({16})
IMPLEMENTATION_ID_BYTES = 32  # RFC 9783 §4.2.2
# What a value that is no key, or no text, raises; one is a plain Exception of the package.
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)


def _method(text: str) -> str:
    # Each method reads its rules: they are there before it is.
    from signerd.core.evidence import METHODS  # noqa: PLC0415

    if text not in METHODS:
        raise ValueError(f"no evidence method {text!r}; known: {', '.join(sorted(METHODS))}")
    return text


def _component(text: str) -> str:
    if not is_component(text):
        raise ValueError("must be 1 to 32 of [A-Za-z0-9._-]")
    return text


def _version(text: str) -> str:
    version_key(text)
    return text


def _level(value: Any) -> Level:
    if not isinstance(value, str):
        raise ValueError("must be none, chip or key")  # noqa: TRY004 (pydantic reports ValueError)
    return Level.from_label(value)


def _bytes(value: Any) -> bytes:
    try:
        return bytes.fromhex(value)
    except _UNREADABLE as error:
        raise ValueError("must be hexadecimal") from error


def _hash(value: bytes) -> bytes:
    if len(value) not in HASH_BYTES:
        raise ValueError("must be of 32, 48 or 64 bytes")
    return value


def _implementation_id(value: bytes) -> bytes:
    if len(value) != IMPLEMENTATION_ID_BYTES:
        raise ValueError("must be of 32 bytes")
    return value


def _root(value: Any) -> Certificate:
    if not isinstance(value, str):
        raise ValueError("must be a certificate, PEM")  # noqa: TRY004 (pydantic reports ValueError)
    try:
        certificate = read_pem(value)
        key = load_der_public_key(certificate.spki)
    except _UNREADABLE as error:
        raise ValueError(f"must be a certificate, PEM: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise ValueError("a root's key must be EC, RSA or Ed25519")  # noqa: TRY004 (as above)
    return certificate


def _chip_form(value: Any) -> ChipForm:
    if not isinstance(value, str):
        raise ValueError("must be a form of chip ids, as CHIP-[0-9]{4}")  # noqa: TRY004 (as above)
    return parse_form(value)


def _oid(text: str) -> str:
    if not text.startswith(PRIVATE_ENTERPRISES):
        raise ValueError(f"must be an OID of a private enterprise: {PRIVATE_ENTERPRISES}…")
    try:
        x509.ObjectIdentifier(text)
    except ValueError as error:
        raise ValueError("must be an OID") from error
    return text


Hex = Annotated[bytes, BeforeValidator(_bytes)]
Component = Annotated[str, AfterValidator(_component)]
Version = Annotated[str, AfterValidator(_version)]
Roots = Annotated[
    tuple[Annotated[Certificate, BeforeValidator(_root)], ...],
    Field(min_length=1, max_length=MAX_ROOTS),
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Measurement(_Section):
    """One accepted state of one firmware component."""

    component: Component
    version: Version
    digest: Hex


class SignedMeasurement(Measurement):
    """Also by whose signature the component was loaded, where that matters."""

    signer: Annotated[Hex, AfterValidator(_hash)] | None = None


MeasurementT = TypeVar("MeasurementT", bound=Measurement)


def describe_measured(measurements: Sequence[Measurement]) -> str:
    """Accepted firmware, as an administrator is told of it."""
    states = sorted({f"{one.component} {one.version}" for one in measurements})
    if not states:
        return "no measurements"
    digests = "1 digest" if len(measurements) == 1 else f"{len(measurements)} digests"
    return f"accepted firmware {', '.join(states)} ({digests})"


def _of_sizes(
    sizes: frozenset[int], named: str
) -> Callable[[tuple[MeasurementT, ...]], tuple[MeasurementT, ...]]:
    """Digests of these sizes in bytes, none of which stands for two states."""

    def check(measurements: tuple[MeasurementT, ...]) -> tuple[MeasurementT, ...]:
        states: dict[bytes, tuple[str, str]] = {}
        for one in measurements:
            if len(one.digest) not in sizes:
                raise ValueError(f"a digest is not of {named} bytes")
            state = (one.component, one.version)
            if states.setdefault(one.digest, state) != state:
                raise ValueError("one digest stands for two components or versions")
        return measurements

    return check


HashMeasurements = Annotated[
    tuple[Measurement, ...],
    Field(max_length=MAX_MEASUREMENTS),
    AfterValidator(_of_sizes(HASH_BYTES, "32, 48 or 64")),
]
SignedMeasurements = Annotated[
    tuple[SignedMeasurement, ...],
    Field(min_length=1, max_length=MAX_MEASUREMENTS),
    AfterValidator(_of_sizes(HASH_BYTES, "32, 48 or 64")),
]
UuidMeasurements = Annotated[
    tuple[Measurement, ...], Field(max_length=MAX_MEASUREMENTS), AfterValidator(_of_sizes(_UUID_BYTES, "16"))
]


def _of_a_leaf(rule: ChipIdRule) -> ChipIdRule:
    if rule.place == "device-id-key" or rule.of != "leaf":
        raise ValueError("an attestation key of a TPM has no DeviceID")
    return rule


class ListedBy(StrEnum):
    """By what a chip stands on a work order's list (docs/formats.md, "Work order file")."""

    ID = "id"
    KEY = "key"
    UEID = "ueid"


class X509Rules(_Section):
    """Attestation keys with a vendor's certificate."""

    roots: Roots
    chip_id: ChipId = SERIAL_NUMBER
    # CAs below the root that are the vendor's, where chips have layers that certify (DICE); None: not said.
    vendor_cas: Annotated[StrictInt, Field(ge=0, lt=MAX_CERTIFICATES)] | None = None
    measurements: HashMeasurements = ()  # DICE: FWIDs that are accepted
    # The vendor certifies only keys that are born in the chip: a CSR for the certified key itself then
    # reaches level key without a measurement.
    certifies_born_keys: StrictBool = False


class PsaTokenRules(_Section):
    """PSA attestation tokens (RFC 9783). Keys of ES tokens are imported by chip."""

    measurements: SignedMeasurements
    implementation_ids: Annotated[
        tuple[Annotated[Hex, AfterValidator(_implementation_id)], ...], Field(min_length=1, max_length=16)
    ]
    # Who may have asked for the token (RFC 9783 §4.1.2), as a secure partition of the company's; empty: any.
    client_ids: Annotated[tuple[StrictInt, ...], Field(max_length=16)] = ()


class Nrf91Rules(_Section):
    """nRF91 modems. Identity keys are imported by chip."""

    measurements: UuidMeasurements = ()  # modem firmware UUIDs; empty: whatever its vendor signed


class Tpm2Rules(_Section):
    """TPM 2.0. Attestation keys (AKs) are certified under one of `roots`, or imported by chip."""

    roots: Annotated[
        tuple[Annotated[Certificate, BeforeValidator(_root)], ...], Field(max_length=MAX_ROOTS)
    ] = ()
    chip_id: Annotated[ChipId, AfterValidator(_of_a_leaf)] = SERIAL_NUMBER
    # The pinned CAs themselves certify for signing only restricted AKs of genuine TPMs: a certificate then
    # counts without tcg-kp-AIKCertificate, whatever it is for, but with no CA between.
    certifies_aks_only: StrictBool = False

    @model_validator(mode="after")
    def _consistent(self) -> Tpm2Rules:
        if self.certifies_aks_only and not self.roots:
            raise ValueError("certifies_aks_only is a promise about roots, and there are none")
        return self


class EvidenceRules(_Section):
    """Methods that are accepted, preferred first, and what they trust."""

    methods: Annotated[tuple[Annotated[str, AfterValidator(_method)], ...], Field(min_length=1)]
    level: Annotated[Level, BeforeValidator(_level)] = Level.NONE  # the least that an order may demand
    chips: Literal["any", "listed"] = "any"  # listed: each must also stand on the work order's list
    # By what it stands there: its id, its key, or a UEID that its vendor states.
    listed_by: Annotated[tuple[ListedBy, ...], Field(min_length=1)] = (ListedBy.ID,)
    minimum_firmware: Annotated[dict[Component, Version], Field(max_length=MAX_COMPONENTS)] = Field(
        default_factory=dict
    )
    chip_ids: Annotated[ChipForm, BeforeValidator(_chip_form)] | None = None  # absent: any chip id
    certificate_extension: Annotated[str, AfterValidator(_oid)] | None = None
    x509: X509Rules | None = None
    psa_token: PsaTokenRules | None = Field(default=None, alias="psa-token")
    nrf91: Nrf91Rules = Nrf91Rules()
    tpm2: Tpm2Rules = Tpm2Rules()

    @model_validator(mode="after")
    def _consistent(self) -> EvidenceRules:
        if len(set(self.methods)) != len(self.methods):
            raise ValueError("methods: one appears twice")
        if len(set(self.listed_by)) != len(self.listed_by):
            raise ValueError("listed_by: one appears twice")
        if "listed_by" in self.model_fields_set and self.chips != "listed":
            raise ValueError('listed_by says how chips are listed: it needs chips = "listed"')
        for name, section in self._sections().items():
            if name in self.methods and section is None:
                raise ValueError(f"method {name} needs its section [evidence.{name}]")
            if name not in self.methods and section is not None and section.model_fields_set:
                raise ValueError(f"section [evidence.{name}] is of a method that is not in methods")
        return self

    def _sections(self) -> dict[str, _Section | None]:
        """By method; a method without rules of its own has none."""
        from signerd.core.evidence import METHODS  # noqa: PLC0415 (as above)

        named = {info.alias or name: name for name, info in type(self).model_fields.items()}
        return {method: getattr(self, named[method]) for method in METHODS if method in named}
