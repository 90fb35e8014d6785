"""`is-logged`: is this certificate in the ledger, where, stamped, revoked, superseded?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from auditor import logged
from auditor.adapters.certificate_file import subject_of
from auditor.adapters.enrolment import load_operations_cas, load_vkey
from auditor.adapters.state import SqliteState
from auditor.adapters.tile_folder import read_bounded, read_checkpoint, tile_folder
from auditor.cli.options import FINDINGS, UNKNOWN, RequiredOption, WitnessOption, demanded
from auditor.cli.output import Output
from auditor.cli.wiring import session
from auditor.config import load, read_bytes
from auditor.core.cosigners import Cosigners
from auditor.core.findings import Rejected
from auditor.core.proofs import parse_vkey
from auditor.core.standing import Answer, Standing, Subject
from auditor.logged import Answers, Held
from birthmark.proof.succession import MAX_SUCCESSION_BYTES, SUCCESSION_PATH
from birthmark.proof.tile import CHECKPOINT_PATH

_SHOWN = 10  # names in a message
_COLUMNS = ("asked", "in_ledger", "state", "serial_number", "issued_entry", "stamped_entry", "revoked_entry")
_NOTHING = dict.fromkeys(
    (
        "state", "serial_number", "chip_id", "work_order", "certificate_sha256", "issued_entry",
        "stamped_entry", "revoked_entry", "reason", "superseded_by",
    )
)  # fmt: skip


def is_logged(
    things: Annotated[
        list[str],
        typer.Argument(
            metavar="CERT|SERIAL|DIGEST...",
            help="A certificate's file (PEM or DER), its board's serial number, or its SHA-256.",
        ),
    ],
    config: Annotated[Path, typer.Option("--config", "-c", help="The auditor's auditor.toml.")] = Path(
        "auditor.toml"
    ),
    *,
    live: Annotated[
        bool, typer.Option("--live", help="Reads from signerd what came after the last `verify` too.")
    ] = False,
    tiles: Annotated[
        Path | None, typer.Option(help="A folder of published tiles, instead of the state. Needs no signerd.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The tiles' checkpoint, instead of the one in their folder.")
    ] = None,
    receipt: Annotated[
        Path | None, typer.Option(help="A receipt of the certificate, with --entry or --tiles.")
    ] = None,
    entry: Annotated[Path | None, typer.Option(help="The ledger entry of the receipt, its bytes.")] = None,
    vkey: Annotated[
        Path | None,
        typer.Option(help="The log's verifier key for --tiles and --receipt, instead of the settings'."),
    ] = None,
    witness: WitnessOption = None,
    witnesses_required: RequiredOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Prints JSON, for machines.")] = False,
) -> None:
    """Tells whether certificates are in the ledger, where, and whether they are stamped or revoked.

    Exit codes: 0 all are in the ledger, 7 one of them is not, 1 the proof does not hold or there are
    findings, 4 nothing can be told: signerd does not answer, or a tile is missing.
    """
    _check_usage(
        things,
        live=live,
        tiles=tiles,
        checkpoint=checkpoint,
        receipt=receipt,
        entry=entry,
        vkey=vkey,
        witness=bool(witness),
        witnesses_required=witnesses_required,
    )
    output = Output(as_json=as_json)
    subjects = [subject_of(thing) for thing in things]
    # --vkey stands for settings that need not be there.
    settings = None if vkey is not None else lambda: load(config).trust
    if receipt is not None:
        cosigners = demanded(witness, witnesses_required, settings)
        found = _by_receipt(receipt, entry, tiles, _held(vkey, config, tiles), cosigners, subjects[0])
    elif tiles is not None:
        key, cosigners = _held(vkey, config, tiles), demanded(witness, witnesses_required, settings)
        with output.progress() as progress:
            head = read_checkpoint(checkpoint or tiles / CHECKPOINT_PATH)
            found = logged.from_tiles(tile_folder(tiles), head, key, cosigners, subjects, progress)
    elif live:
        found = _live(config, subjects, demanded(witness, witnesses_required, settings), output)
    else:
        with SqliteState.open(load(config).state) as state:
            found = logged.from_state(state, subjects)
    _tell(found, output)


def _check_usage(things: Sequence[str], **options: object) -> None:
    """Options that go together, and those that do not. Raises BadParameter."""
    given = {name for name, value in options.items() if value not in {None, False}}
    if "live" in given and given & {"tiles", "receipt"}:
        raise typer.BadParameter("--live asks signerd: leave it out with --tiles and --receipt")
    if "receipt" in given and len(given & {"entry", "tiles"}) != 1:
        raise typer.BadParameter("--receipt wants its entry: either --entry FILE or --tiles DIR")
    if "receipt" in given and len(things) != 1:
        raise typer.BadParameter("a receipt is of one certificate: name one")
    for option, wanted in (
        ("entry", {"receipt"}),
        ("checkpoint", {"tiles"}),
        ("vkey", {"tiles", "receipt"}),
        ("witness", {"tiles", "receipt", "live"}),
        ("witnesses_required", {"tiles", "receipt", "live"}),
    ):
        if option in given and not given & wanted:
            names = " or ".join(f"--{name}" for name in sorted(wanted))
            raise typer.BadParameter(f"--{option.replace('_', '-')} goes with {names}")
    if {"checkpoint", "receipt"} <= given:
        raise typer.BadParameter("a receipt has its checkpoint: leave out --checkpoint")


def _held(vkey: Path | None, config: Path, tiles: Path | None) -> Held:
    """The operations CA is that of the settings; the succession lies beside the tiles."""
    said = None if tiles is None else read_bounded(tiles / SUCCESSION_PATH, MAX_SUCCESSION_BYTES)
    if vkey is not None:
        return Held(parse_vkey(load_vkey(vkey)), (), said or b"")
    settings = load(config)
    cas = load_operations_cas(settings.signerd.operations_ca)
    return Held(parse_vkey(load_vkey(settings.trust.log_vkey)), cas, said or b"")


def _by_receipt(
    receipt: Path,
    entry: Path | None,
    tiles: Path | None,
    held: Held,
    cosigners: Cosigners,
    subject: Subject,
) -> Answers:
    data = read_bytes(receipt, "the receipt")
    if tiles is not None:
        entry_at = logged.entry_of_tiles(tile_folder(tiles))
        return logged.from_receipt(data, entry_at, held, cosigners, subject)
    assert entry is not None  # noqa: S101 (_check_usage)
    content = read_bytes(entry, "the entry")
    return logged.from_receipt(data, lambda _index, _size: content, held, cosigners, subject)


def _live(config: Path, subjects: Sequence[Subject], cosigners: Cosigners, output: Output) -> Answers:
    with session(config) as opened, output.progress() as progress:
        try:
            key = opened.pinned.log_key
            return logged.live(opened.log, opened.state, key, cosigners, subjects, progress)
        except Rejected as rejected:
            output.findings([rejected.finding])
            raise typer.Exit(FINDINGS) from rejected


def _tell(found: Answers, output: Output) -> None:
    output.things("certificate", [row for answer in found.answers for row in _rows(found, answer)], _COLUMNS)
    output.findings(found.findings)
    for loss in found.losses:
        typer.echo(loss, err=True)
    if not found.whole:
        typer.echo("a receipt shows one entry: whether others came later, it does not say", err=True)
    missing = [answer.subject.asked for answer in found.answers if not answer.standings]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (" …" if len(missing) > _SHOWN else "")
        said = f"not among the {found.tree_size} entries of the ledger that were looked at: {shown}"
        typer.echo(said, err=True)
    if found.findings:
        raise typer.Exit(FINDINGS)
    if missing:
        raise typer.Exit(UNKNOWN)


def _rows(found: Answers, answer: Answer) -> Iterator[dict[str, Any]]:
    common = {"asked": answer.subject.asked, "in_ledger": bool(answer.standings)}
    about = {"tree_size": found.tree_size, "whole": found.whole}
    if not answer.standings:
        yield common | _NOTHING | about
    for standing in answer.standings:
        yield common | _values(standing) | about


def _values(standing: Standing) -> dict[str, Any]:
    later = standing.superseded_by
    return {
        "state": standing.state,
        "serial_number": standing.serial_number,
        "chip_id": standing.chip_id,
        "work_order": standing.work_order,
        "certificate_sha256": standing.certificate_sha256.hex(),
        "issued_entry": standing.issued_index,
        "stamped_entry": standing.stamped_index,
        "revoked_entry": standing.revoked_index,
        "reason": standing.reason,
        "superseded_by": None if later is None else later.hex(),
    }
