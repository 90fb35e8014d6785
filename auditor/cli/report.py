"""`report`: the production file of an order or of a time, and the verification of one."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from auditor.adapters.enrolment import load_operations_cas, load_roots, load_vkey
from auditor.adapters.report.making import Making, Produced, Subject
from auditor.adapters.report.verifier_page import verifier_page
from auditor.adapters.report.verifying import Trusted, Verdict, verify_archive
from auditor.adapters.workers import Workers, usual_count
from auditor.cli.options import (
    DEFAULT_CONFIG,
    FINDINGS,
    ConfigOption,
    IdentitiesOption,
    JsonOption,
    RequiredOption,
    WitnessOption,
    WorkersOption,
    demanded,
)
from auditor.cli.output import Output
from auditor.cli.wiring import load_identities, session
from auditor.config import load, read_bytes
from auditor.core.cosigners import Cosigners
from auditor.core.identities import Identities
from auditor.core.proofs import parse_vkey
from auditor.core.report.form import MAX_CRL
from auditor.errors import ConfigError

_DAY = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]


def report(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    order: Annotated[str, typer.Option(help="The work order that the report is about.")] = "",
    begin: Annotated[
        datetime | None,
        typer.Option(
            "--from", formats=_DAY, help="Instead of an order: from this moment on, UTC, with --to."
        ),
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=_DAY, help="Before this moment, UTC.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The archive to write.")] = None,
    whole: Annotated[
        bool,
        typer.Option("--whole", help="All entries since the order was opened: shows that none is left out."),
    ] = False,
    crl: Annotated[
        list[Path] | None, typer.Option(help="A CRL to put into it, DER. Again for each file.")
    ] = None,
    tiles: Annotated[
        str,
        typer.Option(
            help="A folder or an http(s) address of published tiles, instead of signerd: entries alone."
        ),
    ] = "",
    verify: Annotated[
        Path | None, typer.Option("--verify", help="Verifies this archive, and writes none.")
    ] = None,
    vkey: Annotated[
        Path | None,
        typer.Option(
            help="With --verify: the log's verifier key. The settings and their witnesses do not count then."
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="With --verify: the boards' root, PEM, instead of the settings'.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--page", help="Writes verify.html, which verifies archives in a browser, to this file."
        ),
    ] = None,
    witness: WitnessOption = None,
    witnesses_required: RequiredOption = None,
    identities: IdentitiesOption = None,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Makes the production file of an order or of a time: one archive, and a page to sign in it.

    With --verify it verifies one. Exit codes: 0 all of it holds, 1 something does not, or the report has
    findings that nobody acknowledged.
    """
    output = Output(as_json=as_json)
    making = out is not None or order or begin is not None or end is not None or whole or crl or tiles
    if verify is not None:
        if making:
            raise typer.BadParameter(
                "--verify verifies an archive and makes none: leave out the other options"
            )
        cosigners = demanded(witness, witnesses_required, None if vkey else lambda: load(config).trust)
        trusted = _trusted(config, vkey, root, cosigners)
        _verify(verify, trusted, workers, load_identities(identities) if identities else None, output)
        return
    if page is not None and not making:
        _write_page(page, output)
        return
    if vkey or root or witness or witnesses_required or identities:
        raise typer.BadParameter("--vkey, --root, --identities and those of witnesses go with --verify")
    if page is not None:
        raise typer.BadParameter("--page writes the page alone: leave out the other options")
    if out is None or bool(order) == (begin is not None) or (begin is None) != (end is None):
        raise typer.BadParameter("give --out, and either --order, or --from and --to")
    if whole and not order:
        raise typer.BadParameter("--whole goes with --order: a report of a time always has all")
    subject = Subject(order or None, _utc(begin), _utc(end), whole)
    if subject.begin is not None and subject.end is not None and subject.begin >= subject.end:
        raise typer.BadParameter("--from is not before --to")
    crls = [_crl(file) for file in crl or ()]
    with session(config, tiles=tiles) as opened, output.progress() as progress:
        making_it = Making(opened.log, opened.state, opened.pinned.roots, subject, crls, progress)
        produced = making_it.write(out)
    _tell(output, out, produced)


def _write_page(page: Path, output: Output) -> None:
    data = verifier_page()
    try:
        page.write_bytes(data)
    except OSError as error:
        raise ConfigError(
            f"cannot write {page}: {error.strerror}. See that this user may write there"
        ) from error
    output.thing("page", {"file": str(page), "sha256": sha256(data).hexdigest()})


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _crl(file: Path) -> bytes:
    data = read_bytes(file, "the CRL")
    if len(data) > MAX_CRL:
        raise ConfigError(
            f"{file} has {len(data)} bytes, and a CRL in a report at most {MAX_CRL}. Leave it out"
        )
    return data


def _tell(output: Output, out: Path, produced: Produced) -> None:
    values = {
        "file": str(out),
        "bytes": produced.size,
        "sha256": produced.sha256.hex(),
        "order": produced.manifest.order,
        "tree_size": produced.manifest.tree_size,
        "whole": produced.manifest.whole is not None,
        "records": produced.manifest.records,
        "open_findings": produced.open + len(produced.findings),
    }
    output.thing("produced", values | dict(produced.manifest.counts))
    output.findings(produced.findings)
    if produced.open or produced.findings:
        raise typer.Exit(FINDINGS)


def _trusted(config: Path, vkey: Path | None, root: Path | None, cosigners: Cosigners) -> Trusted:
    """What was given; for the log's key, and where it is not given for the root too, the settings'."""
    if vkey is not None:
        key = parse_vkey(load_vkey(vkey))
        return Trusted([key], cosigners, () if root is None else load_roots(root))
    settings = load(config)
    key = parse_vkey(load_vkey(settings.trust.log_vkey))
    cas = load_operations_cas(settings.signerd.operations_ca)
    return Trusted([key], cosigners, load_roots(root or settings.trust.device_root), cas)


def _verify(
    file: Path, trusted: Trusted, workers: int, identities: Identities | None, output: Output
) -> None:
    with Workers(workers or usual_count(), identities) as judges, output.progress() as progress:
        verdict = verify_archive(file, trusted, judges, progress)
    output.thing("production_file", _values(verdict))
    if verdict.problems:
        raise typer.Exit(FINDINGS)


def _values(verdict: Verdict) -> dict[str, object]:
    manifest = verdict.manifest
    return {
        "holds": not verdict.problems,
        "sha256": verdict.sha256.hex(),
        "order": manifest.order,
        "from": manifest.begin,
        "to": manifest.end,
        "tree_size": manifest.tree_size,
        "root": manifest.root.hex(),
        "as_of": manifest.as_of,
        "whole": manifest.whole is not None,
        "cosigned": list(verdict.cosigned),
        **verdict.account.counts(),
        "evidence": dict(sorted(verdict.evidence.items())),
        "open_findings": verdict.open_findings,
        "problems": list(verdict.problems),
        "notes": list(verdict.notes),
    }
