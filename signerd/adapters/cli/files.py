"""Files that administrators hand in. Errors name the file, the line or key, and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from signerd.config import load
from signerd.core.approval.administrators import MAX_FILE, parse_administrators
from signerd.core.approval.errors import ApprovalError
from signerd.core.chip_list import ChipListError, check_chip_id, check_line, read_list
from signerd.core.file_problems import FileKind, FileProblem, shown, too_large, unreadable
from signerd.core.identity_list import MAX_LINE, ChipIdentity, IdentityError, parse_line
from signerd.core.order_file import ORDER_FILE, check_order_file
from signerd.core.product import PRODUCT_FILE, check_product_file
from signerd.core.toml_text import TomlError, utf8_text
from signerd.errors import Code, Refused, WrongFile

_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
_MARKED = "it begins with a byte order mark. Save it as UTF-8 without one."
ADMINISTRATORS_FILE = FileKind(
    maker=None,
    reader="a user who may read it",
    page='docs/formats.md, "Approvals",',
    named="",
    most=MAX_FILE,
)


def read_text(path: Path) -> str:
    """A UTF-8 file, byte for byte: its digest may go into the ledger.

    Raises:
        WrongFile: it is no UTF-8, or begins with a byte order mark.
        OSError: it cannot be read.
    """
    return _text(path, path.read_bytes())


def _text(path: Path, data: bytes) -> str:
    try:
        text = utf8_text(data)
    except TomlError as error:
        raise WrongFile(f"{shown(path)}: {error.what}. {error.mend}") from error
    if data.startswith(_MARK.encode()):
        raise WrongFile(f"{shown(path)}: {_MARKED}")
    return text


def read_product_file(path: Path) -> str:
    """A product file in good form. Raises WrongFile."""
    text = _written(path, PRODUCT_FILE)
    with _told():
        check_product_file(path, text)
    return text


def read_order_file(path: Path) -> str:
    """A work order file in good form; what depends on its product is not looked at. Raises WrongFile."""
    text = _written(path, ORDER_FILE)
    with _told():
        check_order_file(path, text)
    return text


def read_administrators_file(path: Path, config: Path) -> str:
    """Keys of administrators in good form. Raises WrongFile; ConfigError: the settings cannot be read."""
    text = _written(path, ADMINISTRATORS_FILE)
    try:
        parse_administrators(text, load(config).deployment)
    except ApprovalError as error:
        remedy = f"Mend it: {ADMINISTRATORS_FILE.page} shows its lines."
        raise WrongFile(f"{shown(path)}: {error}. {remedy}") from error
    return text


def _written(path: Path, kind: FileKind) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(kind.most + 1)
    except OSError as error:
        raise WrongFile(str(unreadable(path, error, kind))) from error
    if len(data) > kind.most:
        raise WrongFile(str(too_large(path, kind)))
    return _text(path, data)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except FileProblem as error:
        raise WrongFile(str(error)) from error


@contextmanager
def about(file: Path, approval: Path | None = None) -> Iterator[None]:
    """Names the file in what signerd finds wrong with it.

    Of a command with an approval the reason may be the approval's. Its file was looked at before it was
    signed for.
    """
    try:
        yield
    except Refused as refused:
        if refused.code is not Code.INVALID or approval is not None:
            raise
        lines = [f"{shown(file)}: {line}" for line in refused.detail.splitlines()]
        raise Refused(refused.code, "\n".join(lines)) from refused


def read_bounded(path: Path, most: int) -> bytes:
    """A small file whole.

    Raises:
        Refused: `invalid`: it has more than `most` bytes.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise Refused(Code.INVALID, f"{path}: it has more than {most:,} bytes. Name the right file")
    return data


def read_chip_ids(path: Path) -> list[str]:
    """One chip id a line; empty lines do not count.

    Raises:
        Refused: `invalid`: what `read_list` refuses.
    """
    return _read_list(path, check_chip_id)


def read_order_list(path: Path) -> list[str]:
    """The list of a work order: a chip id, `key=…` or `ueid=…` a line. Raises as `read_chip_ids`."""
    return _read_list(path, check_line)


def _read_list(path: Path, check: Callable[[str], object]) -> list[str]:
    try:
        return read_list(read_text(path), line=check)
    except ChipListError as error:
        raise Refused(Code.INVALID, f"{path}: {error}") from error


@dataclass(slots=True)
class IdentityBatch:
    """Some lines of a list of identities."""

    identities: list[ChipIdentity] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)  # chip id -> its last line in this batch
    position: int = 0  # bytes of the file up to the batch's end


def read_identities(path: Path, batch_size: int) -> Iterator[IdentityBatch]:
    """A list of identities (docs/formats.md, "Identity keys"), in batches; empty lines do not count.

    Only one batch is in memory at a time, so that a list may be of any length.

    Raises:
        WrongFile: it begins with a byte order mark.
        Refused: `invalid`: a line is no identity, or there is none.
    """
    position = 0
    some = False
    batch = IdentityBatch()
    with path.open("rb") as file:
        # What is longer than a line may be comes in pieces, of which the first is refused.
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 2), b""), 1):
            position += len(line)
            if number == 1 and line.startswith(_MARK.encode()):
                raise WrongFile(f"{shown(path)}: {_MARKED}")
            text = line.strip()
            if not text:
                continue
            some = True
            try:
                identity = parse_line(text)
            except IdentityError as error:
                raise Refused(Code.INVALID, f"{path}, line {number}: {error}") from error
            batch.identities.append(identity)
            batch.lines[identity.chip_id] = number
            if len(batch.identities) == batch_size:
                batch.position = position
                yield batch
                batch = IdentityBatch()
    batch.position = position
    if batch.identities:
        yield batch
    if not some:
        raise Refused(Code.INVALID, f"{path}: it holds no identity")
