"""What commands print: tables for people, JSON for machines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

_SAID_EVERY_S = 10.0
WIDE = 250  # columns where nobody sees the edge of a screen


def print_json(value: object, *, err: bool = False) -> None:
    """One JSON document on standard output, or on standard error where the output is something else."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False), err=err)


def print_result(text: str, value: Mapping[str, object], *, as_json: bool) -> None:
    """What a command did: a sentence for people, or its parts for machines."""
    if as_json:
        print_json(value)
    else:
        typer.echo(text)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; long values wrap, and nothing is cut."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table, markup=False)


@contextmanager
def progress(file: Path) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's standard error, for as long as a file is read; to be told how many bytes were."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("importing", total=file.stat().st_size or None)
        yield lambda position: bar.update(task, completed=position)


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal's standard error; to be told how many of how many are done."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def said_steps() -> Iterator[Callable[[str, int, int], None]]:
    """As `counted`, of work in several steps: what, how many of how many (0: nobody knows). Where standard
    error is no terminal, a line each `_SAID_EVERY_S`."""
    console, last = Console(stderr=True), time.monotonic()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def say(what: str, done: int, total: int) -> None:
            nonlocal last
            bar.update(task, description=what, completed=done, total=total or None)
            if not console.is_terminal and time.monotonic() - last >= _SAID_EVERY_S:
                last = time.monotonic()
                typer.echo(f"{what}: {done}" + (f" of {total}" if total else ""), err=True)

        yield say


def when(moment: Timestamp) -> str:
    """UTC, to the second."""
    return f"{datetime.fromtimestamp(moment.seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON has it: bytes as hexadecimal, moments as text, enums as their names, nothing absent
    but optional messages."""
    return {
        field.name: _value(message, field)
        for field in message.DESCRIPTOR.fields
        if field.message_type is None or field.is_repeated or message.HasField(field.name)
    }


def _value(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        item = field.message_type.fields_by_name["value"]
        return {key: _one(value[key], item) for key in value}
    if field.is_repeated:
        return [_one(item, field) for item in value]
    return _one(value, field)


def _one(value: Any, field: Any) -> Any:
    if isinstance(value, Timestamp):
        return when(value)
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return value.hex()
    if field.enum_type is not None:
        return label(field.enum_type.values_by_number[value].name, field.enum_type.name)
    return value


def label(name: str, enum: str) -> str:
    """`WORK_ORDER_STATE_OPEN` of `WorkOrderState` is "open"."""
    prefix = "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in enum).lstrip("_")
    return name.removeprefix(f"{prefix}_").lower()
