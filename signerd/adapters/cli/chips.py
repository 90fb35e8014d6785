"""`signerd chips …`: which chips may take part."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signerd.adapters.cli.approvals import (
    DAYS,
    ApprovalOption,
    DaysOption,
    RequestOption,
    SignatureOption,
    approving,
    asking,
)
from signerd.adapters.cli.options import DEFAULT_CONFIG, ByOption, ConfigOption, JsonOption, administrator
from signerd.adapters.cli.personalize import ChipsArgument, batches, personalize

if TYPE_CHECKING:
    from birthmark.v1 import admin_pb2
    from birthmark.v1.admin_pb2_grpc import AdminServiceStub
    from signerd.adapters.cli.files import IdentityBatch

IDENTITIES = 1_000  # a call, admin.proto

app = typer.Typer(help="Chips: which may take part, and their keys.", no_args_is_help=True)


@app.command("import")
def import_(
    file: ChipsArgument,
    *,
    order: Annotated[str, typer.Option("--order", help="The work order.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Puts chips on a work order's list, for evidence method none and for products that want chips listed."""
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.files import read_order_list
    from signerd.adapters.cli.output import print_json

    chip_ids = read_order_list(file)
    with administration(config) as daemon:
        _check_whole(daemon, order, file, chip_ids)
        added = put_on_list(daemon, order, chip_ids)
    if as_json:
        print_json({"work_order": order, "lines": len(chip_ids), "added": added})
        return
    typer.echo(f"{added} of {len(chip_ids)} chips are new on the list of {order}")


def _check_whole(daemon: AdminServiceStub, order: str, file: Path, lines: list[str]) -> None:
    """A list goes up in several calls: what a later one would refuse is refused before the first."""
    from birthmark.v1 import admin_pb2
    from signerd.core.product import parse_product
    from signerd.core.rehearsal import line_problems
    from signerd.errors import Code, Refused

    shown = daemon.ShowWorkOrder(admin_pb2.ShowWorkOrderRequest(work_order=order))
    product = parse_product(shown.product_toml)
    for line in lines:
        if (problem := next(line_problems(shown.work_order, product, line), None)) is not None:
            raise Refused(Code.INVALID, f"{file}: {problem}. Nothing of the list is entered")


def put_on_list(daemon: AdminServiceStub, order: str, chip_ids: list[str]) -> int:
    """Puts chips on an order's list, as many a call as one takes; how many were new."""
    from birthmark.v1 import admin_pb2

    return sum(
        daemon.ImportChips(admin_pb2.ImportChipsRequest(work_order=order, chip_ids=batch)).added
        for batch in batches(chip_ids)
    )


app.command("personalize")(personalize)


@app.command("list")
def list_(
    chip_id: Annotated[str, typer.Argument(metavar="[CHIP]", help="This chip alone.")] = "",
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Lists chips: which secret was burned, which attestation keys were imported, whose lists they are on.

    With --json one object a line. No secret is shown; signerd has none of them.
    """
    import json

    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import plain, print_table

    rows: list[tuple[str, ...]] = []
    with administration(config) as daemon:
        after, more = "", True
        while more:
            page = daemon.ListChips(admin_pb2.ListChipsRequest(after=after, chip_id=chip_id))
            for chip in page.chips:
                if as_json:
                    typer.echo(json.dumps(plain(chip), ensure_ascii=False))
                else:
                    rows.append(_row(chip))
                after = chip.chip_id
            more = page.more
    if not as_json:
        print_table("Chips", ("chip", "personalized", "imported keys", "on the list of"), rows)


def _row(chip: admin_pb2.ListChipsResponse.Chip) -> tuple[str, ...]:
    from signerd.adapters.cli.output import when

    done = chip.personalized
    lock = "locked" if done.locked else "not locked"
    personalized = f"{done.key}, {lock}, at {done.site}, {when(done.at)}"
    keys = [
        f"{each.method} for {each.product}: {each.key_id.hex()}, {when(each.at)}" for each in chip.identities
    ]
    return (
        chip.chip_id,
        personalized + (f", by {done.by}" if done.by else "") if chip.HasField("personalized") else "",
        "\n".join(keys),
        ", ".join(chip.work_orders),
    )


@app.command("import-identities")
def import_identities(
    file: Annotated[Path, typer.Argument(help="One chip a line of JSON: chip_id, key_id, public_key.")],
    *,
    product: Annotated[str, typer.Option("--product", help="The product whose boards have these keys.")],
    method: Annotated[str, typer.Option("--method", help="psa-token, nrf91 or tpm2.")],
    by: ByOption = None,
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request: RequestOption = None,
    valid_days: DaysOption = DAYS,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Enters the public halves of chips' attestation keys. Lines that are entered already count 0."""
    import time

    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.files import IdentityBatch, read_identities
    from signerd.adapters.cli.output import print_json, progress
    from signerd.errors import Refused

    began = time.monotonic()
    who = by or administrator()
    added = lines = 0
    batch = IdentityBatch()
    options = approving(approval, signature, request, valid_days, name=f"{file.stem}-import", as_json=as_json)

    def actions() -> Iterator[admin_pb2.PrepareApprovalRequest.Action]:
        for each in read_identities(file, IDENTITIES):
            yield _action(_importing(each, product, method, who))

    try:
        with (
            administration(config) as daemon,
            progress(file) as advance,
            asking(daemon, options, actions),
        ):
            for part, batch in enumerate(read_identities(file, IDENTITIES)):
                importing = _importing(batch, product, method, who)
                added += daemon.ImportIdentities(options.on(importing, part)).added
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


def _importing(batch: IdentityBatch, product: str, method: str, by: str) -> admin_pb2.ImportIdentitiesRequest:
    from birthmark.v1 import admin_pb2

    return admin_pb2.ImportIdentitiesRequest(
        product=product,
        method=method,
        by=by,
        identities=[
            admin_pb2.Identity(
                chip_id=each.chip_id, key_id=each.key_id, spki=each.spki, tpm_public=each.tpm_public
            )
            for each in batch.identities
        ],
    )


def _action(importing: admin_pb2.ImportIdentitiesRequest) -> admin_pb2.PrepareApprovalRequest.Action:
    from birthmark.v1 import admin_pb2

    return admin_pb2.PrepareApprovalRequest.Action(import_identities=importing)


def _located(detail: str, file: Path, lines: dict[str, int], entered: int) -> str:
    """The daemon's reason with the line of the chip that it names, and what was entered before."""
    chip_id = detail.removeprefix("chip ").partition(": ")[0]
    if chip_id in lines:
        detail = f"{file}, line {lines[chip_id]}: {detail}"
    if entered:
        detail += f"\n{entered} identities of the lines before are entered; importing the list again is safe"
    return detail
