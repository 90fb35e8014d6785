"""signerd's settings with a service in the place of each token. All other lines stay as people wrote them.

    text = with_service(text, Path("/run/signerd-key/socket"), {"checkpoint_key_in": "sealed"})

Whatever way the file says it: tables `[hsm]` with or without tables below them, `hsm = { … }`,
`hsm.module = …`. What cannot be changed so is left to a person: the result is read again, and has to differ
in `hsm` alone.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from signerd.errors import ConfigError

_Keys = tuple[str, ...]
_TOKENS: Final[tuple[_Keys, ...]] = (("hsm",), ("issuers", "hsm"), ("checkpoint_keys",))


@dataclass(frozen=True, slots=True)
class _Statement:
    text: str
    path: _Keys  # of the table or value that it says; empty: a comment
    is_header: bool = False
    table: _Keys = ()  # that it stands in

    @property
    def token(self) -> _Keys | None:
        """The table of a token that it belongs to."""
        return next((each for each in _TOKENS if self.path[: len(each)] == each), None)


def with_service(
    text: str, socket: Path, facts: Mapping[str, object], checkpoint_keys: Sequence[Mapping[str, object]] = ()
) -> str:
    """The settings. `facts` stay in `[hsm]` beside the socket, those of each key in `[[checkpoint_keys]]`.

    Raises:
        ConfigError: they are of a form that is not known here; write them by hand.
    """
    first = {"service": str(socket), **facts}
    further: dict[str, object] = {"service": str(socket)}
    keys = [{**key, **further} for key in checkpoint_keys]
    next_key = iter(keys)
    newline = "\r\n" if "\r\n" in text else "\n"
    kept, replaced = [], set[_Keys]()
    for statement in _statements(text):
        token = statement.token
        if statement.path == ("issuers",) and statement.is_header:
            replaced.discard(("issuers", "hsm"))
        if token is None:
            kept.append(statement.text)
            continue
        values = first if token == ("hsm",) else further
        if token == ("checkpoint_keys",):
            values = next(next_key, {}) if statement.is_header and statement.path == token else {}
        if statement.is_header and statement.path == token:
            replaced.add(token)
            kept.append(
                _ended(statement.text, newline) + "".join(f"{each}{newline}" for each in _lines(values))
            )
        elif not statement.is_header and statement.table == token[:-1] and token not in replaced and values:
            replaced.add(token)  # `hsm = { … }`, or the first of `hsm.module = …`
            kept.append(f"hsm = {{ {', '.join(_lines(values))} }}{newline}")
    return _checked(text, "".join(kept), (first, further, keys))


def _statements(text: str) -> Iterator[_Statement]:
    """Of a file that is valid TOML."""
    lines = text.split("\n")
    lines = [f"{line}\n" for line in lines[:-1]] + lines[-1:]
    table: _Keys = ()
    at = 0
    while at < len(lines):
        begin = lines[at].strip()
        if not begin or begin.startswith("#"):
            yield _Statement(lines[at], ())
            at += 1
            continue
        end, said = _complete(lines, at)
        keys, whole = tuple(_keys(said)), "".join(lines[at:end])
        if begin.startswith("["):
            table = keys
            yield _Statement(whole, keys, is_header=True, table=keys)
        else:
            yield _Statement(whole, table + keys, table=table)
        at = end


def _complete(lines: list[str], at: int) -> tuple[int, dict[str, Any]]:
    """Where the statement ends that begins there, and what it says: a value may take several lines."""
    for end in range(at + 1, len(lines) + 1):
        try:
            return end, tomllib.loads("".join(lines[at:end]))
        except tomllib.TOMLDecodeError:
            continue
    raise _by_hand()


def _keys(said: object) -> Iterator[str]:
    while isinstance(said, (dict, list)) and said:
        if isinstance(said, list):
            said = said[0]
            continue
        name = next(iter(said))
        yield name
        said = said[name]


def _lines(values: Mapping[str, object]) -> list[str]:
    return [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]


def _ended(line: str, newline: str) -> str:
    return line if line.endswith("\n") else line + newline


def _checked(
    old: str, new: str, values: tuple[dict[str, object], dict[str, object], list[dict[str, object]]]
) -> str:
    first, further, keys = values
    wanted, found = tomllib.loads(old), _parsed(new)
    for number, table in enumerate((wanted, *wanted.get("issuers", []))):
        if "hsm" in table:
            table["hsm"] = first if number == 0 else further
    if "checkpoint_keys" in wanted:
        wanted["checkpoint_keys"] = keys
    if found != wanted:
        raise _by_hand()
    return new


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _by_hand() -> ConfigError:
    return ConfigError(
        "the settings are not of a form that can be changed here: write each [hsm] as a table of its own, and"
        " give the command again; nothing was changed"
    )
