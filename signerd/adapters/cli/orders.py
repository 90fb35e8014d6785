"""`signerd order …`."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from birthmark.v1 import admin_pb2

app = typer.Typer(help="Work orders: how many boards, where, when, on which terms.", no_args_is_help=True)
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The work order.")]


ChipsOption = Annotated[
    Path | None,
    typer.Option("--chips", help="The order's list, one chip id a line: each is linted."),
]


@app.command()
def rehearse(
    file: Annotated[Path, typer.Argument(help="Work order file, TOML.")],
    *,
    chips: ChipsOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Says whether every board of an order would get its certificate. Opens nothing.

    Exit code 1: something fails, and `order open` would refuse the order.
    """
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.exits import Exit
    from signerd.adapters.cli.files import about, read_order_file, read_order_list
    from signerd.adapters.cli.output import print_json
    from signerd.adapters.cli.rehearsal import (
        PASSED,
        lint_listed,
        longest,
        passed,
        plain_checks,
        print_checks,
    )

    text, listed = read_order_file(file), read_order_list(chips) if chips is not None else []
    request = admin_pb2.RehearseWorkOrderRequest(work_order_toml=text, chip_ids=longest(listed))
    with about(file), administration(config) as daemon:
        answer = daemon.RehearseWorkOrder(request)
    checks = list(answer.checks)
    if listed:
        checks.append(lint_listed(config, text, answer.product_toml, listed))
    if as_json:
        print_json({"passed": passed(checks), "checks": plain_checks(checks)})
    else:
        print_checks(f"Rehearsal of {file}", checks)
        typer.echo(PASSED if passed(checks) else f"{file} would be refused", err=not passed(checks))
    if not passed(checks):
        raise typer.Exit(Exit.FAILED)


@app.command("open")
def open_(
    file: Annotated[Path, typer.Argument(help="Work order file, TOML.")],
    *,
    chips: ChipsOption = None,
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request: RequestOption = None,
    valid_days: DaysOption = DAYS,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Opens a work order, once its rehearsal finds nothing. Its terms do not change afterwards.

    With --chips its list is rehearsed too, and put on the order. Where administrators are to approve it
    first, what they sign is written (exit code 5): give the command again with --approval and --signature.
    """
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.chips import put_on_list
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.files import about, read_order_file, read_order_list
    from signerd.adapters.cli.output import plain, print_json
    from signerd.adapters.cli.rehearsal import demand_certifiable, longest, notes

    text, listed = read_order_file(file), read_order_list(chips) if chips is not None else []
    opened = admin_pb2.OpenWorkOrderRequest(work_order_toml=text, chip_ids=longest(listed))
    options = approving(approval, signature, request, valid_days, name=file.stem, as_json=as_json)
    if chips is not None:
        rehearsing = admin_pb2.RehearseWorkOrderRequest(work_order_toml=text, chip_ids=longest(listed))
        with about(file), administration(config) as daemon:
            rehearsed = daemon.RehearseWorkOrder(rehearsing)
        with about(chips):
            demand_certifiable(config, text, rehearsed.product_toml, listed)
    action = admin_pb2.PrepareApprovalRequest.Action(open_work_order=opened)
    with about(file, approval):
        answer = approved(config, options, action, lambda daemon: daemon.OpenWorkOrder(options.on(opened)))
    if chips is not None:
        with about(chips), administration(config) as daemon:
            added = put_on_list(daemon, answer.work_order.work_order, listed)
    if as_json:
        print_json({**plain(answer), **({"added": added} if chips is not None else {})})
        return
    order = answer.work_order
    typer.echo(f"opened {order.work_order}: {order.quantity} boards of {order.product}")
    typer.echo(f"ledger entry {answer.ledger_index}")
    for note in notes(answer.checks):
        typer.echo(f"note: {note}")
    if chips is not None:
        typer.echo(f"{added} chips are on its list")


@app.command()
def show(
    work_order: IdArgument,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Shows terms and counts of one, and what the product's revision that it was opened with trusts."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import print_json, print_table

    with administration(config) as daemon:
        shown = daemon.ShowWorkOrder(admin_pb2.ShowWorkOrderRequest(work_order=work_order))
    if as_json:
        print_json({**_plain(shown), "trust": _trust(shown)})
        return
    print_table(f"Work order {work_order}", ("", ""), _details(shown))


@app.command("list")
def list_(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Lists all, with their counts."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import print_json, print_table

    with administration(config) as daemon:
        orders = daemon.ListWorkOrders(admin_pb2.ListWorkOrdersRequest()).work_orders
    if as_json:
        print_json([_plain(shown) for shown in orders])
        return
    columns = (
        "work order",
        "product",
        "state",
        "quantity",
        "places",
        "issued",
        "stamped",
        "missing",
        "revoked",
    )
    print_table("Work orders", columns, (_row(shown) for shown in orders))


@app.command()
def close(
    work_order: IdArgument,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Closes one: no place is given after this."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import plain, print_json

    with administration(config) as daemon:
        answer = daemon.CloseWorkOrder(admin_pb2.CloseWorkOrderRequest(work_order=work_order))
    if as_json:
        print_json({"work_order": work_order, **plain(answer)})
        return
    typer.echo(f"closed {work_order} (ledger entry {answer.ledger_index})")


@app.command("give-share")
def give_share(
    work_order: IdArgument,
    *,
    giver: Annotated[str, typer.Option("--from", help="The key holder's service that released them.")],
    taker: Annotated[str, typer.Option("--to", help="The key holder's service that is to certify them.")],
    places: Annotated[int, typer.Option("--places", help="How many places.", min=1)],
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request: RequestOption = None,
    valid_days: DaysOption = DAYS,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Lets another key holder certify places of an order, which the first released before."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.output import print_result

    giving = admin_pb2.GiveShareRequest(work_order=work_order, giver=giver, taker=taker, places=places)
    options = approving(
        approval, signature, request, valid_days, name=f"order-give-share-{work_order}", as_json=as_json
    )
    action = admin_pb2.PrepareApprovalRequest.Action(give_share=giving)
    answer = approved(config, options, action, lambda daemon: daemon.GiveShare(options.on(giving)))
    print_result(
        f"{places} places of {work_order} are {taker}'s (ledger entry {answer.ledger_index})",
        {"work_order": work_order, "taker": taker, "places": places, "ledger_index": answer.ledger_index},
        as_json=as_json,
    )


def _missing(shown: admin_pb2.ShowWorkOrderResponse) -> int:
    """Boards that took a place and have neither a stamp nor a revoked certificate."""
    counts = shown.counts
    return max(0, counts.issued + counts.open_intents - counts.stamped - counts.revoked)


def _plain(shown: admin_pb2.ShowWorkOrderResponse) -> dict[str, Any]:
    from signerd.adapters.cli.output import plain

    return plain(shown)


def _state(shown: admin_pb2.ShowWorkOrderResponse) -> str:
    return str(_plain(shown)["work_order"]["state"])


def _row(shown: admin_pb2.ShowWorkOrderResponse) -> Sequence[str]:
    order, counts = shown.work_order, shown.counts
    numbers = (
        order.quantity, counts.places, counts.issued, counts.stamped, _missing(shown), counts.revoked
    )  # fmt: skip
    return (order.work_order, order.product, _state(shown), *map(str, numbers))


def _trust(shown: admin_pb2.ShowWorkOrderResponse) -> list[str]:
    from signerd.core.product import parse_product
    from signerd.core.product_trust import describe_trust

    return describe_trust(parse_product(shown.product_toml).evidence)


def _details(shown: admin_pb2.ShowWorkOrderResponse) -> list[tuple[str, str]]:
    import hashlib

    from signerd.adapters.cli.output import when

    order, counts = shown.work_order, shown.counts
    return [
        ("state", _state(shown)),
        ("product", order.product),
        ("its revision", hashlib.sha256(shown.product_toml.encode()).hexdigest()),
        ("which trusts", "\n".join(_trust(shown))),
        ("window", f"{when(order.not_before)} to {when(order.not_after)}"),
        ("stations", "\n".join(order.stations)),
        ("least level of evidence", str(_plain(shown)["work_order"]["level"])),
        ("minimum firmware", ", ".join(f"{name} {least}" for name, least in order.minimum_firmware.items())),
        ("firmware bundle", order.bundle_sha256.hex()),
        (
            "firmware of each stamp",
            "\n".join(
                f"{name} {order.firmware[name].version} {order.firmware[name].digest.hex()}"
                for name in sorted(order.firmware)
            ),
        ),
        ("serial numbers", f"{order.serial_pattern} from {order.serial_start}"),
        ("reissue", order.reissue),
        ("quantity", str(order.quantity)),
        ("places taken", str(counts.places)),
        ("issued", str(counts.issued)),
        ("stamped", str(counts.stamped)),
        ("missing a stamp", str(_missing(shown))),
        ("revoked", str(counts.revoked)),
        ("open intents", str(counts.open_intents)),
        ("opened in ledger entry", str(order.opened_index)),
    ]
