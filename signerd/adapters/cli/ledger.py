"""`signerd ledger …`."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

app = typer.Typer(help="The ledger: the log that auditors read.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """With one command alone, typer would leave out its name."""


@app.command()
def publish(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Writes the tiles that are missing or differ from the database, while signerd is stopped.

    signerd writes tiles by itself. This is for a folder that was damaged or moved. A database that does not
    give the last signed checkpoint is refused, and no tile is touched. Where witnesses have to cosign what is
    published, the folder keeps its checkpoint: the next start of signerd writes the newest, cosigned.
    """
    import sys
    from contextlib import closing

    import structlog

    from signerd.adapters.cli.output import print_json
    from signerd.adapters.head_file import HeadFile, load_vkey
    from signerd.adapters.start_faults import from_system
    from signerd.adapters.store import check_database, known_log_keys, write_tiles_anew
    from signerd.adapters.tiles import TilesFolder
    from signerd.config import database_url, load, tiles_folder

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings, base = load(config), config.resolve().parent
    url, folder = database_url(settings, base), TilesFolder(tiles_folder(settings, base))
    check_database(url)
    keys = known_log_keys(url, load_vkey(settings.ledger.vkey))
    # Every signerd that writes to this folder holds the second place.
    with closing(HeadFile(settings.ledger.head, keys)) as second_place:
        size = second_place.checkpoint.size
        try:
            cosigned = settings.publication.witnesses_required > 0
            counts = write_tiles_anew(url, folder, second_place, cosigned=cosigned)
        except OSError as error:
            raise from_system(f"cannot write {error.filename}: {error.strerror}", error) from error
    if as_json:
        print_json(
            {"folder": str(folder.path), "size": size, "written": counts.written, "right": counts.right}
        )
        return
    typer.echo(
        f"{folder.path} has the log of {size} entries: {counts.written} files written, "
        f"{counts.right} were right"
    )
