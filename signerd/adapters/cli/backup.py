"""`signerd backup` and `signerd restore`."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

_PIPE = Path("-")


def backup(
    *,
    out: Annotated[
        Path, typer.Option("--out", help="A new file, mode 0600; - for standard output, to be encrypted.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Backs up database, settings, certificates and operations keys, also beside a running signerd.

    Not in it: the token and its PIN, and the second place, against which a restored backup is compared. It
    holds private keys: encrypt it.
    """
    from dataclasses import asdict

    from signerd.adapters.backup import back_up
    from signerd.adapters.cli.output import print_json

    with _target(out) as stream:
        about, outside = back_up(config, stream)
    size = sum(member.size for member in about.files)
    if as_json:
        print_json({**asdict(about), "not_in_it": [str(path) for path in outside]}, err=out == _PIPE)
        return
    lines = [f"backed up {about.ledger_size} ledger entries, {len(about.files)} files, {size} bytes"]
    lines += [f"not in it, since it lies elsewhere: {path}" for path in outside]
    typer.echo("\n".join(lines), err=out == _PIPE)


def restore(
    file: Annotated[Path, typer.Argument(help="What `signerd backup` wrote; - for standard input.")],
    directory: Annotated[Path, typer.Argument(help="The installation's directory, new or empty.")],
    *,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", help="Where the second place is lost: the newest checkpoint that anybody has."
        ),
    ] = None,
    to_succeed: Annotated[
        bool,
        typer.Option(
            "--to-succeed",
            help="Takes a backup that is behind what was published: `signerd ledger succeed` comes next.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Restores a backup, if it reaches what was published: the second place says that.

    The database goes to where the backup's settings have it, and must not be there.
    """
    from dataclasses import asdict

    from signerd.adapters.backup import restore as restore_backup
    from signerd.adapters.cli.output import print_json

    note = None if checkpoint is None else checkpoint.read_bytes()
    with _source(file) as stream:
        about, settings = restore_backup(stream, directory, note, to_succeed=to_succeed)
    if as_json:
        print_json({**asdict(about), "settings": str(settings)})
        return
    typer.echo(
        f"restored the backup of {about.made}, {about.ledger_size} ledger entries\n"
        + (
            f"next: signerd ledger succeed -c {settings}"
            if to_succeed
            else f"next: signerd check-config --login -c {settings}"
        )
    )


@contextmanager
def _target(out: Path) -> Iterator[IO[bytes]]:
    from signerd.adapters.durable_files import new_file

    if out != _PIPE:
        with new_file(out, 0o600) as file:
            yield file
        return
    if sys.stdout.isatty():
        raise typer.BadParameter("a backup is no text for a terminal: give --out FILE, or a pipe")
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as pipe:
        yield pipe


@contextmanager
def _source(file: Path) -> Iterator[IO[bytes]]:
    if file == _PIPE:
        with os.fdopen(os.dup(sys.stdin.fileno()), "rb") as pipe:
            yield pipe
    else:
        with file.open("rb") as stream:
            yield stream
