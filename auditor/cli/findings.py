"""The commands about what was found: `findings` and `acknowledge`."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.adapters.ssh_keygen import public_key, sign
from auditor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, exit_of_findings
from auditor.cli.output import Output
from auditor.cli.values import kept_finding_values
from auditor.cli.wiring import session, utc_now
from auditor.core.acknowledgement import MAX_REASON, namespace, signer, statement
from auditor.errors import ConfigError, Malformed, NotFound
from auditor.ports import Acknowledgement


def register(command: Callable[[], Callable[[Callable[..., None]], Callable[..., None]]]) -> None:
    """Adds them to the program."""
    command()(findings)
    command()(acknowledge)


def findings(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """Lists all findings that are kept, with what was said of each."""
    output = Output(as_json=as_json)
    with session(config) as opened:
        kept = opened.state.findings()
        rows = [kept_finding_values(item, opened.pinned.trust.deployment) for item in kept]
    columns = ("number", "found_at", "code", "kind", "entry", "serial_number", "detail", "acknowledged")
    output.things("finding", rows, columns)
    exit_of_findings(kept)


def acknowledge(
    number: Annotated[int, typer.Argument(help="The finding's number, as `findings` lists it.")],
    reason: Annotated[str, typer.Option(help="Why it stands, and what was done.")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    key: Annotated[
        Path | None, typer.Option(help="An SSH key to sign with; ssh-keygen does it. Its .pub is beside it.")
    ] = None,
    by: Annotated[str, typer.Option(help="Who says so, instead of this user's name.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Says why a finding stands. It stays visible, and runs that find nothing else end with code 6."""
    if len(reason) > MAX_REASON:
        raise typer.BadParameter(f"--reason takes at most {MAX_REASON} characters")
    output = Output(as_json=as_json)
    with session(config) as opened:
        trust, now = opened.pinned.trust, utc_now()
        found = next((item for item in opened.state.findings() if item.number == number), None)
        if found is None:
            raise NotFound(f"no finding has the number {number}: `findings` lists them")
        text = statement(
            found.finding,
            found.found_at,
            origin=trust.origin,
            reason=reason,
            by=by or getpass.getuser(),
            key="" if key is None else public_key(key),
            at=now,
        )
        signature = b"" if key is None else _signed(key, text, trust.deployment)
        with opened.state.transaction():
            opened.state.acknowledge(number, Acknowledgement(text, signature, now))
        (said,) = [item for item in opened.state.findings() if item.number == number]
    values: dict[str, Any] = kept_finding_values(said, trust.deployment)
    output.thing("acknowledged", values)


def _signed(key: Path, text: bytes, deployment: str) -> bytes:
    signature = sign(key, namespace(deployment), text)
    try:
        signer(text, signature, deployment)
    except Malformed as error:
        raise ConfigError(f"the signature of {key} {error}. See that {key}.pub is its public key") from error
    return signature
