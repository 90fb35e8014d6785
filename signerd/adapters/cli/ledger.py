"""`signerd ledger …`."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

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
    say_to_sign,
)
from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from signerd.adapters.log_succession import Done

app = typer.Typer(help="The ledger: the log that auditors read.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """With one command alone, typer would leave out its name."""


@app.command()
def publish(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Writes the tiles that are missing or differ from the database, while signerd is stopped.

    signerd writes tiles by itself. This is for a folder that was damaged or moved, and for the bucket, where
    there is one. A database that does not
    give the last signed checkpoint is refused, and no tile is touched. Where witnesses have to cosign what is
    published, the folder keeps its checkpoint: the next start of signerd writes the newest, cosigned.
    """
    import sys
    from contextlib import closing

    import structlog

    from signerd.adapters.cli.output import print_json
    from signerd.adapters.head_file import HeadFile, load_vkey
    from signerd.adapters.start_faults import from_system
    from signerd.adapters.store import check_database, known_log_keys, write_tiles_anew, write_tiles_to_bucket
    from signerd.adapters.tiles import TilesFolder, open_bucket
    from signerd.config import database_url, load, tiles_folder
    from signerd.errors import ConfigError, Fault, NotNow, Unavailable

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings, base = load(config), config.resolve().parent
    url, folder = database_url(settings, base), TilesFolder(tiles_folder(settings, base))
    named = settings.publication.bucket
    bucket, sent = None if named is None else open_bucket(named, base), None
    check_database(url)
    keys = known_log_keys(url, load_vkey(settings.ledger.vkey))
    # Every signerd that writes to this folder holds the second place.
    with closing(HeadFile(settings.ledger.head, keys)) as second_place:
        size = second_place.checkpoint.size
        try:
            cosigned = settings.publication.witnesses_required > 0
            counts = write_tiles_anew(url, folder, second_place, cosigned=cosigned)
            if bucket is not None:
                sent = write_tiles_to_bucket(url, folder, bucket, second_place, keys, cosigned=cosigned)
        except OSError as error:
            raise from_system(f"cannot write {error.filename}: {error.strerror}", error) from error
        except Unavailable as error:
            raise NotNow(error.detail) from error
        except Fault as error:
            raise ConfigError(error.detail) from error
    if as_json:
        said: dict[str, object] = {
            "folder": str(folder.path),
            "size": size,
            "written": counts.written,
            "right": counts.right,
        }
        if bucket is not None and sent is not None:
            said["bucket"] = {"where": bucket.where, "written": sent.written, "right": sent.right}
        print_json(said)
        return
    typer.echo(
        f"{folder.path} has the log of {size} entries: {counts.written} files written, "
        f"{counts.right} were right"
    )
    if bucket is not None and sent is not None:
        typer.echo(f"{bucket.where}: {sent.written} objects written, {sent.right} were right")


@app.command()
def succeed(
    *,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint", help="A checkpoint that anybody kept, such as a station's. Again for each."
        ),
    ] = None,
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request: RequestOption = None,
    valid_days: DaysOption = DAYS,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Goes on after a real loss: under another name, from the entries that are left, while signerd is
    stopped.

    The database is restored and is behind what was published. The operations CA and the log's key sign which
    entries are lost, and stations and auditors follow. It cannot be undone: first collect the newest
    checkpoints of stations, auditors and witnesses, and look for a newer database. If it is interrupted, give
    it again.
    """
    import asyncio
    import sys

    import structlog

    from signerd.adapters.cli.files import read_bounded
    from signerd.adapters.cli.options import administrator
    from signerd.adapters.installation.successor_log import ToSign, succeed_log
    from signerd.config import load
    from signerd.core.seen_checkpoint import MAX_SEEN_CHECKPOINT

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    options = approving(approval, signature, request, valid_days, name="ledger-succeed", as_json=as_json)
    settings, base = load(config), config.resolve().parent
    given = [read_bounded(path, MAX_SEEN_CHECKPOINT) for path in checkpoint or ()]
    done = asyncio.run(
        succeed_log(
            settings, base, given, by=administrator(), approval=options.shown(), valid_days=valid_days
        )
    )
    if isinstance(done, ToSign):
        say_to_sign(options, done.text, done.threshold, done.administrators, settings.deployment)
    _say_succeeded(done, as_json=as_json)


def _say_succeeded(done: Done, *, as_json: bool) -> None:
    from dataclasses import asdict

    from signerd.adapters.cli.output import print_json

    if as_json:
        print_json(
            {
                "done": True,
                "number": done.number,
                "origin": done.origin,
                "vkeys": list(done.vkeys),
                "size": done.size,
                "continued": done.continued,
                "lost": done.lost,
                "predecessors": [each.members() for each in done.predecessors],
                "kept": [str(path) for path in done.kept],
                "orders": [asdict(order) for order in done.orders],
            }
        )
        return
    typer.echo(
        f"the log is {done.origin} from now on: {done.continued} entries go on, {done.lost} of the log before"
        " are lost"
    )
    for vkey in done.vkeys:
        typer.echo(f"verifier key, for witnesses and other readers: {vkey}")
    for path in done.kept:
        typer.echo(f"keep {path}: it is of the log before")
    for order in done.orders:
        typer.echo(
            f"open: {order.work_order}, whose places are known up to {order.taken} of {order.quantity}."
            " Boards that are lost may have the serial numbers after it"
        )
    typer.echo('go on as docs/operations.md says, "A backup was restored"')
