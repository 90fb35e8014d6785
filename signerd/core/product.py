"""Products: what a board's certificate looks like and which evidence counts.

The file's form is in docs/formats.md, "Product file".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from signerd.core.chip_form import ANY, UUID, ChipForm
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.file_form import FORM, FileForm
from signerd.core.file_problems import FileKind, in_one_line, parse_file, problems
from signerd.core.names import FIRST, KeyType, is_component, is_name
from signerd.core.toml_text import TomlError, parse_toml
from signerd.errors import Code, Refused

MAX_PRODUCT_BYTES = 32768
MAX_BACKDATE_S = 86_400  # a board's clock may be a day behind; more is no clock
_PRODUCTS_KEPT = 256
PRODUCT_FILE = FileKind(
    maker=None,
    reader="a user who may read it",
    page='docs/formats.md, "Product file",',
    named="",
    most=MAX_PRODUCT_BYTES,
)

SUBJECT_OIDS = {
    "C": NameOID.COUNTRY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "DNQ": NameOID.DN_QUALIFIER,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "CN": NameOID.COMMON_NAME,
    "serialNumber": NameOID.SERIAL_NUMBER,
}
EXTENDED_KEY_USAGES = {
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "codeSigning": ExtendedKeyUsageOID.CODE_SIGNING,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timeStamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "OCSPSigning": ExtendedKeyUsageOID.OCSP_SIGNING,
}
_EXPIRY = re.compile(r"[0-9]{14}Z")  # as RFC 5280 §4.1.2.5.2
_PLACEHOLDER = re.compile(r"\{(serial|chip_id|number|product|work_order)\}")


def _template(text: str) -> str:
    if re.search(r"[{}]", _PLACEHOLDER.sub("", text)):
        raise ValueError("knows only {serial}, {chip_id}, {number}, {product} and {work_order}")
    return text


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with its placeholders replaced, once, so that a value cannot bring in another."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def _named(text: str) -> str:
    if not is_name(text):
        raise ValueError("must be 1 to 64 of [A-Za-z0-9._-], beginning with a letter or digit")
    return text


def _lock(text: str) -> str:
    if not is_component(text):
        raise ValueError("must be 1 to 32 of [A-Za-z0-9._-]")
    return text


def _usage(text: str) -> str:
    if text not in EXTENDED_KEY_USAGES:
        try:
            x509.ObjectIdentifier(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is neither a name of RFC 5280 §4.2.1.12 nor an OID") from error
    return text


def _expiry(text: str) -> str:
    try:
        datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise ValueError("must be YYYYMMDDHHMMSSZ") from error
    return text


Template = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_template)]


def chip_form(rules: EvidenceRules) -> ChipForm:
    """The form of a product's chip ids: its own, else what its methods make of them."""
    if rules.chip_ids is not None:
        return rules.chip_ids
    return UUID if rules.methods == ("nrf91",) else ANY


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Keys(_Section):
    """Key types that are accepted, preferred first."""

    accept: Annotated[tuple[KeyType, ...], Field(min_length=1)]


class Profile(_Section):
    """The certificate, but for key and place."""

    ca: Annotated[str, AfterValidator(_named)] = FIRST  # who issues it
    validity_days: Annotated[int, Field(ge=1, le=36500)] | None = None
    not_after: Annotated[str, AfterValidator(_expiry)] | None = None
    backdate_s: Annotated[int, Field(ge=0, le=MAX_BACKDATE_S)] = 0
    subject: Annotated[tuple[tuple[str, Template], ...], Field(min_length=1, max_length=16)]
    key_usage: Annotated[
        tuple[
            Literal[
                "digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement"
            ],
            ...,
        ],
        Field(min_length=1),
    ]
    extended_key_usage: tuple[Annotated[str, AfterValidator(_usage)], ...] = ()
    san_dns: tuple[Template, ...] = ()
    san_uri: tuple[Template, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Profile:
        if (self.validity_days is None) == (self.not_after is None):
            raise ValueError("give validity_days or not_after, and not both")
        for kind, _ in self.subject:
            if kind not in SUBJECT_OIDS:
                raise ValueError(f"no subject attribute {kind!r}; known: {', '.join(SUBJECT_OIDS)}")
        return self

    def begins(self, moment: datetime, issuer_begins: datetime) -> datetime:
        """notBefore of a certificate whose place was taken at `moment`, and never before its issuer's own."""
        return max(moment - timedelta(seconds=self.backdate_s), min(moment, issuer_begins))

    def expires(self, moment: datetime) -> datetime:
        """notAfter of a certificate whose place was taken at `moment`. Raises ValueError after year 9999."""
        if self.not_after is not None:
            return datetime.strptime(self.not_after, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
        try:
            return moment + timedelta(days=self.validity_days or 0)
        except OverflowError as error:
            raise ValueError("it would end after the year 9999") from error

    def check_written(self) -> None:
        """Raises ValueError for a `not_after` that says less than it seems to: with digits left out it is
        read as another day. Products that were added before this was looked at can have one."""
        if self.not_after is not None and not _EXPIRY.fullmatch(self.not_after):
            read = self.expires(datetime.min.replace(tzinfo=UTC))
            raise ValueError(
                f"certificate.not_after {self.not_after!r} is not YYYYMMDDHHMMSSZ, and would be read as"
                f" {read:%Y-%m-%dT%H:%M:%SZ}: write all 14 digits"
            )


class StampRules(_Section):
    """What a stamp must say beyond what was issued."""

    required_locks: tuple[Annotated[str, AfterValidator(_lock)], ...] = ()


class Product(_Section):
    """A product file, validated."""

    v: FileForm = FORM
    name: Annotated[str, AfterValidator(_named)]
    chip: Annotated[str, AfterValidator(_lock)] | None = None  # the boards' silicon, as bundles name it
    keys: Keys
    evidence: EvidenceRules
    certificate: Profile
    stamp: StampRules = StampRules()


def check_product_file(path: Path, text: str) -> Product:
    """Reads the file that a person wrote. Raises FileProblem, with all that is wrong and what to do."""
    return parse_file(path, text.encode(), Product, PRODUCT_FILE, {})


def read_toml(text: str) -> dict[str, Any]:
    """What a TOML file says. Raises Refused `invalid`."""
    try:
        return parse_toml(text)
    except TomlError as error:
        raise Refused(Code.INVALID, str(error)) from error


@lru_cache(maxsize=_PRODUCTS_KEPT)
def parse_product(text: str) -> Product:
    """Reads a product file. Every call of a station needs its order's: the last ones read are kept.

    Raises:
        Refused: `invalid`, with each wrong or unknown key named.
    """
    if len(text.encode()) > MAX_PRODUCT_BYTES:
        raise Refused(Code.INVALID, f"a product file has at most {MAX_PRODUCT_BYTES} bytes")
    try:
        return Product.model_validate(read_toml(text))
    except ValidationError as error:
        raise Refused(Code.INVALID, in_one_line(problems(error))) from error
