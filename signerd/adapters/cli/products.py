"""`signerd product …`."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from signerd.adapters.cli.approvals import (
    DAYS,
    ApprovalOption,
    DaysOption,
    RequestOption,
    SignatureOption,
    approved,
    approving,
)
from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

app = typer.Typer(help="Products: what a board's certificate looks like.", no_args_is_help=True)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="Product file, TOML.")],
    *,
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request: RequestOption = None,
    valid_days: DaysOption = DAYS,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Adds a product, or a new revision of one, and says what it trusts.

    A sample certificate goes through the full linter first, and the roots are looked at.
    """
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.files import about, read_product_file
    from signerd.adapters.cli.output import plain, print_json
    from signerd.core.product import parse_product
    from signerd.core.product_trust import describe_trust

    text = read_product_file(file)
    added = admin_pb2.AddProductRequest(product_toml=text)
    options = approving(approval, signature, request, valid_days, name=file.stem, as_json=as_json)
    action = admin_pb2.PrepareApprovalRequest.Action(add_product=added)
    with about(file, approval):
        answer = approved(config, options, action, lambda daemon: daemon.AddProduct(options.on(added)))
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


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The product.")],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Shows the newest revision of one: what it trusts, and its file.

    A work order keeps the revision that it was opened with: `signerd order show`.
    """
    import hashlib

    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import plain, print_json, when
    from signerd.core.product import parse_product
    from signerd.core.product_trust import describe_trust
    from signerd.errors import Code, Refused

    with administration(config) as daemon:
        products = daemon.ListProducts(admin_pb2.ListProductsRequest()).products
    product = next((each for each in products if each.name == name), None)
    if product is None:
        raise Refused(Code.NOT_FOUND, f"no product {name!r}; `signerd product list` lists them")
    digest = hashlib.sha256(product.product_toml.encode()).hexdigest()
    trust = describe_trust(parse_product(product.product_toml).evidence)
    if as_json:
        print_json({**plain(product), "product_sha256": digest, "trust": trust})
        return
    typer.echo(f"product {name}, added {when(product.added_at)}")
    typer.echo(f"revision {digest} trusts:")
    for line in trust:
        typer.echo(f"  {line}")
    typer.echo("")
    typer.echo(product.product_toml, nl=False)
