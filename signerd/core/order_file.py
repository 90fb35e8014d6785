"""Work order files (docs/formats.md, "Work order file"): TOML in, checked terms out.

Guarantees that an order which is opened can be worked: its product exists, its stations are stations, its
last serial number still fits its bound, its window is not empty, the firmware that it names is not below the
minimum.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from signerd.core.evidence.rules import MAX_COMPONENTS, Component, Version
from signerd.core.file_form import FORM, FileForm
from signerd.core.file_problems import FileKind, FileProblem, in_one_line, parse_file, problems, shown
from signerd.core.names import Level, Reissue, Role, is_chip_id, is_component, is_name, parse_peer_uri
from signerd.core.order import FirmwareBundle, WorkOrder
from signerd.core.policy import check_firmware, least_firmware
from signerd.core.product import Product, read_toml
from signerd.core.product_trust import highest_level
from signerd.core.serial_number import parse_pattern
from signerd.core.settings import encode_settings
from signerd.core.strict_cbor import CborError
from signerd.errors import Code, Refused

MAX_ORDER_BYTES = 32768  # OpenWorkOrderRequest.work_order_toml
MAX_QUANTITY = 100_000_000  # boards; far above a product's life, far below what a table cannot hold
MAX_STATIONS = 256  # so that the order's ledger entry stays under 65,535 bytes
_FIRST_YEAR, _LAST_YEAR = 1970, 9999  # times are kept as seconds since 1970, and written with four digits
MAX_SHARES = 64  # key holders' services of one order
MAX_SERIAL_START = 10**15  # numbers of ledger entries are exact in JSON up to 2**53
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
ORDER_FILE = FileKind(
    maker=None,
    reader="a user who may read it",
    page='docs/formats.md, "Work order file",',
    named="",
    most=MAX_ORDER_BYTES,
)


@dataclass(frozen=True, slots=True)
class ProductRevision:
    """A product as it stands when the order is opened."""

    product: Product
    sha256: bytes  # of its TOML


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError("must be 1 to 64 of [A-Za-z0-9._-], beginning with a letter or digit")
    return text


def _moment(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("needs a time zone, as in 2026-11-01T00:00:00Z")
    if moment.microsecond:
        raise ValueError("must be whole seconds")
    if not _FIRST_YEAR < moment.year < _LAST_YEAR:  # one year beside each, for the time zone
        raise ValueError(f"must be between {_FIRST_YEAR} and {_LAST_YEAR}")
    return moment.astimezone(UTC)


def _station(uri: str) -> str:
    if parse_peer_uri(uri).role is not Role.STATION:
        raise ValueError("is not a station")
    return uri


def _level(text: str) -> str:
    Level.from_label(text)
    return text


def _sha256(value: Any) -> bytes:
    if not isinstance(value, str) or _SHA256.fullmatch(value) is None:
        raise ValueError("must be 64 hexadecimal digits")
    return bytes.fromhex(value)


def _silicon(text: str) -> str:
    if not is_component(text):
        raise ValueError("must be 1 to 32 of [A-Za-z0-9._-], as esp32s3")
    return text


def _pair(value: Any) -> tuple[Any, Any]:
    match value:
        case [version, digest]:
            return version, digest
        case _:
            raise ValueError("must be an array of version and SHA-256")


Sha256 = Annotated[bytes, BeforeValidator(_sha256)]
FirmwareComponent = Annotated[tuple[Version, Sha256], BeforeValidator(_pair)]


class _Bundle(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sha256: Sha256
    product: Annotated[str, AfterValidator(_name)] | None = None
    chip: Annotated[str, AfterValidator(_silicon)] | None = None
    # Absent, not empty, where stamps are not compared: an empty table would look like a demand.
    firmware: (
        Annotated[dict[Component, FirmwareComponent], Field(min_length=1, max_length=MAX_COMPONENTS)] | None
    ) = None


class _OrderFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    v: FileForm = FORM
    work_order: Annotated[str, AfterValidator(_name)]
    product: Annotated[str, AfterValidator(_name)]
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY)]
    not_before: Annotated[datetime, AfterValidator(_moment)]
    not_after: Annotated[datetime, AfterValidator(_moment)]
    stations: Annotated[
        list[Annotated[str, AfterValidator(_station)]], Field(min_length=1, max_length=MAX_STATIONS)
    ]
    level: Annotated[str, AfterValidator(_level)]
    serial_pattern: Annotated[str, Field(max_length=64)]
    serial_start: Annotated[int, Field(ge=0, le=MAX_SERIAL_START)] = 1
    reissue: Annotated[Reissue, Field(strict=False)] = Reissue.NEVER
    minimum_firmware: Annotated[dict[Component, Version], Field(max_length=MAX_COMPONENTS)] = Field(
        default_factory=dict
    )
    # Absent: all of the quantity is the key holder's that has the name `main`.
    shares: (
        Annotated[
            dict[Annotated[str, AfterValidator(_name)], Annotated[int, Field(ge=0)]],
            Field(min_length=1, max_length=MAX_SHARES),
        ]
        | None
    ) = None
    bundle: _Bundle | None = None
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> _OrderFile:
        if self.not_before >= self.not_after:
            raise ValueError("not_before is not before not_after")
        if len(set(self.stations)) != len(self.stations):
            raise ValueError("a station appears twice in stations")
        if self.shares is not None and sum(self.shares.values()) != self.quantity:
            raise ValueError(f"shares come to {sum(self.shares.values())}, not to the quantity")
        pattern = parse_pattern(self.serial_pattern)
        for number in (self.serial_start, self.serial_start + self.quantity - 1):
            if not is_chip_id(pattern.render(number)):  # the two have one form
                serial = pattern.render(number)
                raise ValueError(f"serial_pattern gives {serial!r}, not 1 to 64 of [A-Za-z0-9._:-]")
        return self


def check_order_file(path: Path, text: str) -> None:
    """Looks at the file that a person wrote, as far as nothing else need be known.

    Raises FileProblem, with all that is wrong and what to do.
    """
    file = parse_file(path, text.encode(), _OrderFile, ORDER_FILE, {})
    try:
        encode_settings(file.settings)
    except CborError as error:
        remedy = f"Mend [settings]: {ORDER_FILE.page} says what may stand there."
        raise FileProblem(f"{shown(path)}: settings: {error}", remedy) from error


def parse_order_file(text: str, find_product: Callable[[str], ProductRevision | None]) -> WorkOrder:
    """Reads a work order file.

    Args:
        text: the TOML, at most 32,768 bytes.
        find_product: the newest revision of a product by name, or None.

    Raises:
        Refused: `invalid`, with each wrong or unknown key named.
    """
    if len(text.encode()) > MAX_ORDER_BYTES:
        raise Refused(Code.INVALID, f"a work order file has at most {MAX_ORDER_BYTES} bytes")
    try:
        file = _OrderFile.model_validate(read_toml(text))
        settings = encode_settings(file.settings)
    except ValidationError as error:
        raise Refused(Code.INVALID, in_one_line(problems(error))) from error
    except CborError as error:
        raise Refused(Code.INVALID, f"settings: {error}") from error
    revision = find_product(file.product)
    if revision is None:
        raise Refused(Code.INVALID, f"product: no product {file.product!r}; `signerd product add` adds one")
    _check_reachable(file, revision.product)
    if file.bundle is not None and file.bundle.product not in {None, file.product}:
        raise Refused(
            Code.INVALID,
            f"bundle.product: the bundle is for product {file.bundle.product}, the order for {file.product}",
        )
    order = WorkOrder(
        work_order=file.work_order,
        product=file.product,
        product_sha256=revision.sha256,
        quantity=file.quantity,
        not_before=file.not_before,
        not_after=file.not_after,
        stations=tuple(file.stations),
        level=Level.from_label(file.level),
        minimum_firmware=file.minimum_firmware,
        serial_pattern=file.serial_pattern,
        serial_start=file.serial_start,
        reissue=file.reissue,
        settings=settings,
        bundle=_bundle(file.bundle),
        shares=file.shares,
    )
    _check_bundle(order, revision.product)
    return order


def _check_reachable(file: _OrderFile, product: Product) -> None:
    """An order that no evidence of its product can satisfy would only make boards wait."""
    asked, reached = Level.from_label(file.level), highest_level(product.evidence)
    if reached < asked:
        most = reached.label
        raise Refused(Code.INVALID, f"level: the methods of product {product.name!r} reach {most!r} at most")
    if asked < product.evidence.level:
        least = product.evidence.level.label
        raise Refused(Code.INVALID, f"level: product {product.name!r} wants at least {least!r}")


def _bundle(section: _Bundle | None) -> FirmwareBundle | None:
    return None if section is None else FirmwareBundle(section.sha256, section.firmware or {}, section.chip)


def _check_bundle(order: WorkOrder, product: Product) -> None:
    """Firmware that is named and too old would have every stamp refused, whatever it says."""
    named = {} if order.bundle is None else order.bundle.firmware
    minimum = least_firmware(order, product.evidence)
    try:
        check_firmware(
            {name: version for name, (version, _) in named.items()},
            {name: least for name, least in minimum.items() if name in named},
        )
    except Refused as error:
        raise Refused(Code.INVALID, f"bundle.firmware: {error.detail}") from error
