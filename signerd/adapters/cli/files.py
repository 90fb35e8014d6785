"""Files that administrators hand in. Errors name the file and the line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from signerd.core.chip_list import ChipListError, check_chip_id, check_line, read_list
from signerd.core.identity_list import MAX_LINE, ChipIdentity, IdentityError, parse_line
from signerd.errors import Code, Refused

_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
_MARKED = "{} begins with a byte order mark: save it as UTF-8 without one"


def read_text(path: Path) -> str:
    """A UTF-8 file, byte for byte: its digest may go into the ledger.

    Raises:
        Refused: `invalid`: it is no UTF-8, or begins with a byte order mark.
        OSError: it cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(Code.INVALID, f"{path} is not UTF-8: save it as UTF-8") from error
    if text.startswith(_MARK):
        raise Refused(Code.INVALID, _MARKED.format(path))
    return text


def read_bounded(path: Path, most: int) -> bytes:
    """A small file whole.

    Raises:
        Refused: `invalid`: it has more than `most` bytes.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise Refused(Code.INVALID, f"{path} has more than {most} bytes")
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
                raise Refused(Code.INVALID, _MARKED.format(path))
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
        raise Refused(Code.INVALID, f"{path} holds no identity")
