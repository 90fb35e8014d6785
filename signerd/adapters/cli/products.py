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
    file: Annotated[Path, typer.Argument(help="Product file, TOML.")], config: ConfigOption = DEFAULT_CONFIG
) -> None:
    """Adds a product, or a new revision of one. A sample certificate goes through the full linter first."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.files import read_text

    request = admin_pb2.AddProductRequest(product_toml=read_text(file))
    with administration(config) as daemon:
        answer = daemon.AddProduct(request)
    typer.echo(f"added product {answer.product} (ledger entry {answer.ledger_index})")
    for note in answer.lint_notes:
        typer.echo(f"linter: {note}")


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
