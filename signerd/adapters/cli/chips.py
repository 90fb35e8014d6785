"""`signerd chips …`: which chips may take part."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ByOption, ConfigOption, caller

BATCH = 10_000  # chips a call, admin.proto

app = typer.Typer(help="Chips: which may take part, and their keys.", no_args_is_help=True)
FileArgument = Annotated[Path, typer.Argument(help="One chip id a line.")]


@app.command("import")
def import_(
    file: FileArgument,
    order: Annotated[str, typer.Option("--order", help="The work order.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Puts chips on a work order's list, for work orders of level none."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.files import read_chip_ids

    chip_ids = read_chip_ids(file)
    added = 0
    with administration(config) as daemon:
        for batch in _batches(chip_ids):
            request = admin_pb2.ImportChipsRequest(work_order=order, chip_ids=batch)
            added += daemon.ImportChips(request).added
    typer.echo(f"{added} of {len(chip_ids)} chips are new on the list of {order}")


@app.command()
def personalize(
    file: FileArgument,
    *,
    site: Annotated[str, typer.Option("--site", help="Where it is done.")],
    out: Annotated[Path, typer.Option("--out", help="Where to write chip ids and keys, CSV, mode 0600.")],
    locked: Annotated[
        bool, typer.Option("--locked", help="The chips are locked (secure boot) before they leave the place.")
    ] = False,
    pin: Annotated[
        str | None,
        typer.Option("--pin", help="Where the PIN comes from, if not as configured: prompt, file:PATH, …"),
    ] = None,
    by: ByOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Enters chips into the registry and writes the key that each is to be given.

    Whoever has the file can speak for these chips: burn the keys, then destroy it.
    """
    import asyncio
    import os

    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.files import read_chip_ids
    from signerd.adapters.keyholder.personalization import derive_chip_keys
    from signerd.adapters.pin import read_pin
    from signerd.config import load

    chip_ids = read_chip_ids(file)
    settings = load(config)
    # Made first, so that nothing is derived or registered for a file that cannot be written.
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii", newline="") as keys_file:
            secret = read_pin(pin or settings.hsm.pin, config.resolve().parent)
            try:
                keys = asyncio.run(derive_chip_keys(settings.hsm, secret, chip_ids))
            finally:
                secret[:] = bytes(len(secret))
            added = 0
            with administration(config) as daemon:
                for batch in _batches(chip_ids):
                    request = admin_pb2.PersonalizeChipsRequest(
                        chip_ids=batch, locked=locked, site=site, key="hmac-sha256", by=by or caller()
                    )
                    added += daemon.PersonalizeChips(request).added
            keys_file.write("chip_id,key\n")
            keys_file.writelines(f"{chip_id},{key.hex()}\n" for chip_id, key in keys.items())
            keys_file.flush()
            os.fsync(keys_file.fileno())
    except BaseException:
        out.unlink()
        raise
    typer.echo(f"{added} of {len(chip_ids)} chips are new in the registry; keys: {out}")


def _batches(chip_ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(chip_ids), BATCH):
        yield chip_ids[start : start + BATCH]
