"""`signerd approval …`, and how the other commands ask for approvals.

A command whose action is to be approved writes what administrators sign, and does nothing else (exit code 5).
Given again, with that text and their signatures, it does what they signed.
"""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from birthmark.v1 import admin_pb2
    from birthmark.v1.admin_pb2_grpc import AdminServiceStub
    from signerd.core.approval.actions import ShownApproval

app = typer.Typer(help="Approvals: what administrators sign, and who they are.", no_args_is_help=True)

ApprovalOption = Annotated[
    Path | None, typer.Option("--approval", help="What administrators signed. With a --signature of each.")
]
SignatureOption = Annotated[
    list[Path] | None,
    typer.Option("--signature", help="A signature over it, of ssh-keygen -Y sign. Again for each."),
]
RequestOption = Annotated[
    Path | None,
    typer.Option("--request", help="Where to write what administrators are to sign. Default: NAME.approval."),
]
DaysOption = Annotated[
    int, typer.Option("--valid-days", min=1, max=90, help="Days for which it may be signed and used.")
]
DAYS = 7
Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Approving:
    """The options of a command about its approval."""

    approval: Path | None
    signatures: Sequence[Path]
    request: Path
    valid_days: int
    as_json: bool
    emergency: bool = False

    def on(self, request: Request, part: int = 0) -> Request:
        """The request with the approval that the command was given, if it was given one."""
        given = self.shown()
        if given is not None:
            shown: Any = request
            shown.approval.statement = given.statement
            shown.approval.signatures.extend(given.signatures)
            shown.approval.part = part
        return request

    def shown(self) -> ShownApproval | None:
        """The approval that the command was given, if it was given one."""
        from signerd.adapters.cli.files import read_bounded
        from signerd.core.approval.actions import ShownApproval
        from signerd.core.approval.sshsig import MAX_ARMORED
        from signerd.core.approval.statement import MAX_STATEMENT

        if (self.approval is None) != (not self.signatures):
            raise typer.BadParameter("--approval goes with one --signature or more")
        if self.approval is None:
            return None
        signatures = tuple(read_bounded(each, MAX_ARMORED) for each in self.signatures)
        return ShownApproval(read_bounded(self.approval, MAX_STATEMENT), signatures)


def approving(
    approval: Path | None,
    signatures: Sequence[Path] | None,
    request: Path | None,
    valid_days: int,
    *,
    name: str,
    as_json: bool,
    emergency: bool = False,
) -> Approving:
    """`name` is what the request is called where the command was not told a place."""
    place = request or Path(f"{name}.approval")
    return Approving(approval, signatures or (), place, valid_days, as_json, emergency)


@contextmanager
def asking(
    daemon: AdminServiceStub,
    options: Approving,
    actions: Callable[[], Iterable[admin_pb2.PrepareApprovalRequest.Action]],
) -> Iterator[None]:
    """Around the calls that do the actions: where they are to be approved first, writes what is to be signed.

    Raises typer.Exit: the request is written, and nothing is done.
    """
    import grpc

    from signerd.adapters.rpc.status import CODE_METADATA
    from signerd.errors import Code

    try:
        yield
    except grpc.RpcError as error:
        metadata: Any = dict(error.trailing_metadata() or ()) if isinstance(error, grpc.Call) else {}
        if metadata.get(CODE_METADATA) != Code.APPROVAL_REQUIRED.value:
            raise
        prepare(daemon, options, actions())


def approved(
    config: Path,
    options: Approving,
    action: admin_pb2.PrepareApprovalRequest.Action,
    call: Callable[[AdminServiceStub], Answer],
) -> Answer:
    """Of a command that is one call: its answer, or typer.Exit, as `asking`."""
    from signerd.adapters.cli.connection import administration

    with administration(config) as daemon, asking(daemon, options, lambda: [action]):
        return call(daemon)


def prepare(
    daemon: AdminServiceStub,
    options: Approving,
    actions: Iterable[admin_pb2.PrepareApprovalRequest.Action],
) -> None:
    """Writes what administrators are to sign. Raises typer.Exit."""
    from birthmark.v1 import admin_pb2

    asked = admin_pb2.PrepareApprovalRequest(
        actions=actions, valid_days=options.valid_days, emergency=options.emergency
    )
    prepared = daemon.PrepareApproval(asked)
    _write_to_sign(
        options, prepared.statement, prepared.threshold, prepared.administrators, prepared.namespace
    )


def say_to_sign(
    options: Approving, statement: bytes, threshold: int, administrators: Sequence[str], deployment: str
) -> NoReturn:
    """The same for a command that asks no signerd. Raises typer.Exit."""
    from signerd.core.approval.administrators import namespace_of

    _write_to_sign(options, statement, threshold, administrators, namespace_of(deployment))


def _write_to_sign(
    options: Approving, statement: bytes, threshold: int, administrators: Sequence[str], namespace: str
) -> NoReturn:
    from signerd.adapters.cli.exits import Exit
    from signerd.adapters.cli.output import print_json
    from signerd.adapters.durable_files import write_new

    # A crash leaves the file whole, or an empty one that nobody can sign for anything.
    write_new(options.request, statement, 0o644)
    if options.as_json:
        print_json(
            {
                "done": False,
                "request": str(options.request),
                "threshold": threshold,
                "administrators": list(administrators),
                "namespace": namespace,
            }
        )
    else:
        typer.echo(
            f"NOT DONE YET: {threshold} of {', '.join(administrators)} are to sign"
            f" {options.request}\n"
            f"each on a machine of their own, once they have read it:\n"
            f"  ssh-keygen -Y sign -f KEY -n {namespace} {options.request.name}\n"
            f"then give the same command again, with\n"
            f"  --approval {options.request} --signature FILE (one for each who signed)"
        )
    raise typer.Exit(Exit.NOT_APPROVED)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="REQUEST", help="What an administrator is to sign.")],
    *,
    given: Annotated[
        Path | None,
        typer.Option("--input", help="The order's or product's file: which the request must be about."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Shows what a request is about, to whoever is to sign it. Needs no installation and no network.

    Exit code 1: it is no request, it has expired, or it is about another file than --input.
    """
    import hashlib
    from datetime import UTC, datetime

    from signerd.adapters.cli.files import read_bounded
    from signerd.adapters.cli.output import print_json
    from signerd.core.approval.administrators import namespace_of
    from signerd.core.approval.errors import ApprovalError
    from signerd.core.approval.statement import MAX_STATEMENT, parse_statement
    from signerd.errors import Code, Refused

    text = read_bounded(file, MAX_STATEMENT)
    try:
        statement = parse_statement(text)
    except ApprovalError as error:
        raise Refused(Code.APPROVAL_INVALID, f"{file}: {error}") from error
    if statement.expires <= datetime.now(UTC):
        raise Refused(
            Code.APPROVAL_INVALID,
            f"{file} expired at {statement.expires:%Y-%m-%d %H:%M} UTC: ask for a new one",
        )
    if given is not None and hashlib.sha256(given.read_bytes()).digest() not in statement.inputs:
        raise Refused(
            Code.APPROVAL_INVALID, f"{file} is not about {given}, but about another file: do not sign it"
        )
    namespace = namespace_of(statement.deployment)
    if as_json:
        print_json(
            {
                "action": statement.action,
                "deployment": statement.deployment,
                "emergency": statement.emergency,
                "expires": f"{statement.expires:%Y-%m-%dT%H:%M:%SZ}",
                "entries": [dict(entry) for entry in statement.entries],
                "namespace": namespace,
                "sha256": hashlib.sha256(text).hexdigest(),
            }
        )
        return
    typer.echo(text.decode("ascii"), nl=False)
    typer.echo(f"\nif this is what is to be done:\n  ssh-keygen -Y sign -f KEY -n {namespace} {file}")


@app.command()
def administrators(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A new file of administrators' keys.")
    ] = None,
    *,
    threshold: Annotated[
        int | None, typer.Option("--threshold", min=1, max=16, help="How many are to sign from now on.")
    ] = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="Ask nobody from now on.")] = False,
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request: RequestOption = None,
    valid_days: DaysOption = DAYS,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Shows who is asked, in the form of OpenSSH's allowed signers. With FILE, asks others from now on.

    Those of before approve that. Change the settings too: the next start compares them with the ledger.
    """
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.files import read_administrators_file
    from signerd.adapters.cli.output import print_result

    changes = file is not None or nobody
    if changes != (threshold is not None or nobody) or (nobody and file is not None):
        raise typer.BadParameter("FILE goes with --threshold, and --nobody stands alone")
    if not changes:
        _show_administrators(config, as_json=as_json)
        return
    text = read_administrators_file(file, config) if file is not None else ""
    asked = admin_pb2.SetAdministratorsRequest(threshold=threshold or 0, administrators=text)
    options = approving(approval, signature, request, valid_days, name="administrators", as_json=as_json)
    action = admin_pb2.PrepareApprovalRequest.Action(set_administrators=asked)
    answer = approved(config, options, action, lambda daemon: daemon.SetAdministrators(options.on(asked)))
    said = f"{threshold} of {file} are asked" if file is not None else "nobody is asked"
    print_result(
        f"{said} from now on (ledger entry {answer.ledger_index})",
        {"done": True, "threshold": threshold or 0, "ledger_index": answer.ledger_index},
        as_json=as_json,
    )


def _show_administrators(config: Path, *, as_json: bool) -> None:
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import plain, print_json

    with administration(config) as daemon:
        answer = daemon.ShowAdministrators(admin_pb2.ShowAdministratorsRequest())
    if as_json:
        print_json(plain(answer))
        return
    if not answer.threshold:
        typer.echo("# nobody is asked")
        return
    typer.echo(f"# {answer.threshold} of these are asked")
    for key in answer.keys:
        typer.echo(f'{key.administrator} namespaces="{answer.namespace}" {key.key}')
