"""`signerd chips …`: which chips may take part."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ByOption, ConfigOption, JsonOption, caller

BATCH = 10_000  # chips a call, admin.proto
IDENTITIES = 1_000  # a call, admin.proto

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


@app.command("import-identities")
def import_identities(
    file: Annotated[Path, typer.Argument(help="One chip a line of JSON: chip_id, key_id, public_key.")],
    *,
    product: Annotated[str, typer.Option("--product", help="The product whose boards have these keys.")],
    method: Annotated[str, typer.Option("--method", help="psa-token, nrf91 or tpm2.")],
    by: ByOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Enters the public halves of chips' attestation keys. Lines that are entered already count 0."""
    import time

    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.files import IdentityBatch, read_identities
    from signerd.adapters.cli.output import print_json, progress
    from signerd.errors import Refused

    began = time.monotonic()
    who = by or caller()
    added = lines = 0
    batch = IdentityBatch()
    try:
        with administration(config) as daemon, progress(file) as advance:
            for batch in read_identities(file, IDENTITIES):
                request = admin_pb2.ImportIdentitiesRequest(
                    product=product,
                    method=method,
                    by=who,
                    identities=[
                        admin_pb2.Identity(chip_id=each.chip_id, key_id=each.key_id, spki=each.spki)
                        for each in batch.identities
                    ],
                )
                added += daemon.ImportIdentities(request).added
                lines += len(batch.identities)
                advance(batch.position)
    except Refused as refused:
        raise Refused(refused.code, _located(refused.detail, file, batch.lines, lines)) from refused
    seconds = time.monotonic() - began
    if as_json:
        print_json({"product": product, "method": method, "lines": lines, "added": added})
        return
    typer.echo(f"{added} of {lines} identities are new for {product}, method {method}")
    typer.echo(f"{seconds:.1f} s, {lines / seconds:.0f} lines/s")


def _located(detail: str, file: Path, lines: dict[str, int], entered: int) -> str:
    """The daemon's reason with the line of the chip that it names, and what was entered before."""
    chip_id = detail.removeprefix("chip ").partition(": ")[0]
    if chip_id in lines:
        detail = f"{file}, line {lines[chip_id]}: {detail}"
    if entered:
        detail += f"\n{entered} identities of the lines before are entered; importing the list again is safe"
    return detail


def _batches(chip_ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(chip_ids), BATCH):
        yield chip_ids[start : start + BATCH]
