"""`signerd product …`."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

app = typer.Typer(help="Products: what a board's certificate looks like.", no_args_is_help=True)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="Product file, TOML.")],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Adds a product, or a new revision of one, and says what it trusts.

    A sample certificate goes through the full linter first, and the roots are looked at.
    """
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.files import read_text
    from signerd.adapters.cli.output import plain, print_json
    from signerd.core.product import parse_product
    from signerd.core.product_trust import describe_trust

    text = read_text(file)
    with administration(config) as daemon:
        answer = daemon.AddProduct(admin_pb2.AddProductRequest(product_toml=text))
    trust = describe_trust(parse_product(text).evidence)
    if as_json:
        print_json({**plain(answer), "trust": trust})
        return
    typer.echo(f"added product {answer.product} (ledger entry {answer.ledger_index})")
    typer.echo(f"revision {answer.product_sha256.hex()} trusts from now on:")
    for line in trust:
        typer.echo(f"  {line}")
    for note in answer.lint_notes:
        typer.echo(f"note: {note}")


@app.command("list")
def list_(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Lists the newest revision of each."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import plain, print_json, print_table, when

    with administration(config) as daemon:
        products = daemon.ListProducts(admin_pb2.ListProductsRequest()).products
    if as_json:
        print_json([plain(product) for product in products])
        return
    print_table("Products", ("product", "added"), ((each.name, when(each.added_at)) for each in products))
