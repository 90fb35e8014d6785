"""`signerd explain`: what would become of a file, without a token, a database or a daemon."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signerd.adapters.cli.options import JsonOption

if TYPE_CHECKING:
    from signerd.core.explain import Explanation
    from signerd.core.identity_list import ChipIdentity
    from signerd.core.product import Product

_BATCH = 256  # lines in memory at a time


def explain(
    file: Annotated[Path, typer.Argument(help="CSR, certificate or chain (PEM, DER), token or evidence.")],
    *,
    product: Annotated[
        Path | None, typer.Option("--product", "-p", help="Product file, by whose rules to judge.")
    ] = None,
    identities: Annotated[
        Path | None,
        typer.Option("--identities", "-i", help="List of identities, for tokens whose key is imported."),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option("--at", formats=["%Y-%m-%d"], help="The day, UTC, at which certificates must be valid."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Says what signerd would accept of a file, and why not.

    Exit code 0: nothing speaks against it. 1: it would be refused, or is nothing that can be explained.
    """
    from signerd.adapters.cli.exits import Exit
    from signerd.adapters.cli.output import print_json

    rules = _product(product) if product is not None else None
    moment = at.replace(tzinfo=UTC) if at is not None else datetime.now(UTC)
    explanation = _explained(file, rules, moment, identities)
    if as_json:
        print_json(_plain(file, explanation))
    else:
        _print(file, explanation)
    if not explanation.accepted:
        raise typer.Exit(int(Exit.FAILED))


def _product(file: Path) -> Product:
    from signerd.adapters.cli.files import read_product_file
    from signerd.core.product import parse_product

    return parse_product(read_product_file(file))


def _explained(file: Path, product: Product | None, moment: datetime, identities: Path | None) -> Explanation:
    from signerd.core.explain import Unrecognized, explain
    from signerd.core.explain.form import MAX_FILE_BYTES
    from signerd.errors import Code, Refused

    with file.open("rb") as opened:
        data = opened.read(MAX_FILE_BYTES + 1)
    try:
        return explain(data, product, moment, None if identities is None else partial(_find, identities))
    except Unrecognized as error:
        raise Refused(Code.INVALID, f"{file}: {error}") from error


def _find(identities: Path, key_id: bytes) -> ChipIdentity | None:
    """Reads the list up to the line with this key id: it may be of any length."""
    from signerd.adapters.cli.files import read_identities

    for batch in read_identities(identities, _BATCH):
        for identity in batch.identities:
            if identity.key_id == key_id:
                return identity
    return None


def _print(file: Path, explanation: Explanation) -> None:
    typer.echo(f"{file}: {explanation.kind}")
    for line in explanation.lines:
        typer.echo(f"  {line.state:<6} {line.text}")
        if line.remedy:
            typer.echo(f"         → {line.remedy}")
    for verdict in explanation.methods:
        said = {True: "ok", False: "wrong", None: "-"}[verdict.accepted]
        level = f", level {verdict.level} at most" if verdict.accepted else ""
        typer.echo(f"  {said:<6} method {verdict.method}{level}: {verdict.reason}")
        if verdict.chip_id:
            typer.echo(f"         chip id {verdict.chip_id} ({verdict.chip_id_rule})")
        if verdict.remedy:
            typer.echo(f"         → {verdict.remedy}")
    typer.echo("nothing speaks against it" if explanation.accepted else "it would be refused")


def _plain(file: Path, explanation: Explanation) -> dict[str, object]:
    return {
        "file": str(file),
        "kind": explanation.kind,
        "accepted": explanation.accepted,
        "checks": [
            {"state": str(line.state), "text": line.text, "remedy": line.remedy} for line in explanation.lines
        ],
        "methods": [
            {
                "method": verdict.method,
                "accepted": verdict.accepted,
                "level": verdict.level or None,
                "chip_id": verdict.chip_id or None,
                "chip_id_rule": verdict.chip_id_rule or None,
                "reason": verdict.reason,
                "remedy": verdict.remedy,
            }
            for verdict in explanation.methods
        ],
    }
