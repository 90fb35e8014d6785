"""How a wrong TOML file is told to a person: in the file's words, and not in its libraries'.

    agent.toml: signerd.adress: no such key; signerd.address: it is missing. Mend these keys: …

Pure. Each text is one line of bounded length that any terminal may show, whatever the file. agent, auditor
and signerd each have this module, and a test holds the three equal.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from signerd.core.plain_text import plain
from signerd.core.toml_text import TomlError, read_toml

MAX_FILE_BYTES = 1_048_576  # of settings; far above any that works
_MAX_PROBLEMS = 8  # of a file; what comes after them is counted
_MAX_PROBLEM = 240  # characters
_MAX_PATH = 160  # characters; its end tells more than its beginning

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class FileKind:
    """What the remedies of one kind of file name.

    Args:
        maker: the command that makes one; none where people write it.
        reader: who may read it.
        page: the page or example that shows its keys.
        named: how a command is told which file it is; nothing where the file is an argument.
        most: bytes.
    """

    maker: str | None
    reader: str
    page: str
    named: str = " with --config"
    most: int = MAX_FILE_BYTES


class FileProblem(Exception):  # noqa: N818 (an outcome of reading)
    """A file is wrong. `what` names it and says how, `remedy` is a sentence; the text has both."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}. {remedy}")
        self.what = what
        self.remedy = remedy


_OF_SYSTEM = {
    errno.ENOENT: "there is no such file",
    errno.ENOTDIR: "a folder of its path is a file",
    errno.EACCES: "this user may not read it",
    errno.EPERM: "this user may not read it",
    errno.EISDIR: "it is a folder",
}


def unreadable(path: Path, error: OSError, kind: FileKind) -> FileProblem:
    """The system did not give the file."""
    number = error.errno or 0
    what = _OF_SYSTEM.get(number, f"the system does not read it ({plain(error.strerror or 'no reason')})")
    match number:
        case errno.ENOENT:
            remedy = f"Name the right one{kind.named}, or {_made(kind)}."
        case errno.ENOTDIR | errno.EISDIR:
            remedy = f"Name the file itself{kind.named}."
        case errno.EACCES | errno.EPERM:
            remedy = f"Run the command as {kind.reader}."
        case _:
            remedy = "See that its disk is there and whole."
    return FileProblem(f"{shown(path)}: {what}", remedy)


def too_large(path: Path, kind: FileKind) -> FileProblem:
    """The file is larger than any that works."""
    what = f"{shown(path)}: it has more than {kind.most:,} bytes"
    return FileProblem(what, f"Name the right file{kind.named}.")


def _made(kind: FileKind) -> str:
    return f"write one: {kind.page} shows how" if kind.maker is None else f"make one: `{kind.maker}`"


def parse_file(path: Path, data: bytes, model: type[M], kind: FileKind, context: Mapping[str, Any]) -> M:
    """What a file says.

    Args:
        path: for the texts alone.
        data: the file's bytes; of longer ones than `kind.most` the beginning is enough.
        model: what must stand in it.
        kind: for the remedies.
        context: for the model's validators.

    Raises:
        FileProblem: it is empty, too large, no TOML, or a key is unknown, missing or wrong. All of them
            are named.
    """
    if not data.strip():
        anew = (
            f"{kind.page} shows what belongs in it"
            if kind.maker is None
            else f"Make one anew: `{kind.maker}`"
        )
        raise FileProblem(f"{shown(path)}: it is empty", f"{anew}.")
    if len(data) > kind.most:
        raise too_large(path, kind)
    try:
        table = read_toml(data)
    except TomlError as error:
        raise FileProblem(f"{shown(path)}: {_cut(error.what)}", error.mend) from error
    try:
        return model.model_validate(table, context=dict(context))
    except ValidationError as error:
        lines = problems(error)
        mend = "Mend this key" if len(lines) == 1 else "Mend these keys"
        remedy = f"{mend}: {kind.page} shows them all."
        raise FileProblem(f"{shown(path)}: {in_one_line(lines)}", remedy) from error


def problems(error: ValidationError) -> list[str]:
    """A text for each key that is wrong, unknown or missing, `section.key: what is wrong`."""
    errors = error.errors(include_url=False, include_input=False)
    places = [item["loc"] for item in errors]
    lines = []
    for item in errors:
        where = item["loc"]
        # A list of which an item is wrong also counts as too short: the item says all there is to say.
        if item["type"] == "too_short" and any(place[: len(where)] == where != place for place in places):
            continue
        said = _said(item["type"], item["msg"], item.get("ctx", {}))
        lines.append(_cut(f"{'.'.join(map(str, where))}: {said}" if where else said))
    return lines


def in_one_line(lines: list[str]) -> str:
    """The problems of one file, the first of them in full and the others counted."""
    more = len(lines) - _MAX_PROBLEMS
    return "; ".join([*lines[:_MAX_PROBLEMS], *([f"and {more} more"] if more > 0 else [])])


def shown(path: Path) -> str:
    """A path as a line may name it."""
    text = plain(str(path))
    return text if len(text) <= _MAX_PATH else f"…{text[-_MAX_PATH:]}"


def _cut(text: str) -> str:
    text = plain(text)
    return text if len(text) <= _MAX_PROBLEM else f"{text[:_MAX_PROBLEM]}…"


_TEXT, _TABLE, _LIST, _WHOLE = (
    "must be a text in quotes",
    "must be a table",
    "must be a list",
    "must be a whole number",
)
_MOMENT = "must be a date and time, as 2026-11-01T00:00:00Z"
_SAID = {
    "extra_forbidden": "no such key",
    "missing": "it is missing",
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "dict_type": _TABLE,
    "mapping_type": _TABLE,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "string_type": _TEXT,
    "path_type": _TEXT,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must be of the form {pattern}",
    "too_short": "has {actual_length} entries, and must have at least {min_length}",
    "too_long": "has {actual_length} entries, and must have at most {max_length}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "union_tag_invalid": "{discriminator} must be one of {expected_tags}",
    "union_tag_not_found": "{discriminator} is missing",
    "datetime_type": _MOMENT,
    "datetime_parsing": _MOMENT,
    "datetime_from_date_parsing": _MOMENT,
    "datetime_object_invalid": _MOMENT,
}
_PREFIX = "Value error, "


def _said(kind: str, message: str, context: Mapping[str, Any]) -> str:
    if kind == "string_too_short" and context["min_length"] == 1:
        return "must not be empty"
    words = _SAID.get(kind)
    return message.removeprefix(_PREFIX) if words is None else words.format_map(context)
