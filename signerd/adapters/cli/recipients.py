"""`signerd recipient …`: which tokens open what is sealed."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from signerd.adapters.cli.approvals import (
    DAYS,
    ApprovalOption,
    Approving,
    DaysOption,
    RequestOption,
    SignatureOption,
    approving,
    asking,
)
from signerd.adapters.cli.options import (
    DEFAULT_CONFIG,
    DEFAULT_KEY_HOLDER,
    ConfigOption,
    JsonOption,
    KeyHolderOption,
    PinOption,
    environment,
)

if TYPE_CHECKING:
    from signerd.adapters.keyholder.resealing import Resealed
    from signerd.adapters.recipients import KnownRecipient
    from signerd.config import Config
    from signerd.core.recipient import Recipient

app = typer.Typer(help="Recipients: the tokens that open what is sealed.", no_args_is_help=True)
_SHORT = 8  # digits of a key's digest in the name of a request
_Done = TypeVar("_Done")
_KEEPS = (
    "whoever has that token, its PIN and a copy of the file from before can still open the secrets: they stay"
    " the same. Destroy its key, and the copies"
)


@app.command("list")
def list_(
    *,
    key_holder: KeyHolderOption = DEFAULT_KEY_HOLDER,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Lists them: by file and by ledger. It needs neither the token nor a signerd that runs."""
    from signerd.adapters.cli.output import print_json, print_table
    from signerd.adapters.recipients import known_recipients

    found = known_recipients(_loaded(config, key_holder).settings, config.resolve().parent)
    if as_json:
        print_json([_plain(each) for each in found])
        return
    rows = [(each.spki_sha256.hex(), _kind(each), each.state) for each in found]
    print_table("Recipients", ("public key (SHA-256)", "key", "state"), rows)


@app.command("add")
def add(
    file: Annotated[
        Path,
        typer.Argument(help="Public key of the token, or a certificate of it, PEM. It may be elsewhere."),
    ],
    *,
    pin: PinOption = None,
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request: RequestOption = None,
    valid_days: DaysOption = DAYS,
    key_holder: KeyHolderOption = DEFAULT_KEY_HOLDER,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Seals the secrets to another token too, with the one that is in place; signerd goes on meanwhile."""
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.installation.places import read_recipient
    from signerd.adapters.recipients import with_one_more

    new = read_recipient(file)
    named = new.spki_sha256().hex()
    name = f"recipient-add-{named[:_SHORT]}"
    options = approving(approval, signature, request, valid_days, name=name, as_json=as_json)
    resealed, index = _change(
        _loaded(config, key_holder), pin, lambda known: with_one_more(known, new), options
    )
    count = len(resealed.sealed.recipients)
    print_result(
        f"sealed to {named} too, {count} tokens in all (ledger entry {index})\n"
        "try it before it goes into the safe: signerd recipient try",
        {"spki_sha256": named, "recipients": count, "ledger_index": index},
        as_json=as_json,
    )


@app.command("remove")
def remove(
    key: Annotated[str, typer.Argument(help="SHA-256 of its public key, or how it begins: see `list`.")],
    *,
    no_spare: Annotated[
        bool, typer.Option("--no-spare", help="Also where one token alone is left, and the secrets with it.")
    ] = False,
    pin: PinOption = None,
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request: RequestOption = None,
    valid_days: DaysOption = DAYS,
    key_holder: KeyHolderOption = DEFAULT_KEY_HOLDER,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Seals to one token less. The secrets stay the same: who has that token and an old file keeps them."""
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.recipients import with_one_less

    gone: list[bytes] = []

    def wanted(known: Sequence[KnownRecipient]) -> Sequence[Recipient]:
        named, left = with_one_less(known, key, no_spare=no_spare)
        gone.append(named)
        return left

    name = f"recipient-remove-{key.lower()[:_SHORT]}"
    options = approving(approval, signature, request, valid_days, name=name, as_json=as_json)
    resealed, index = _change(_loaded(config, key_holder), pin, wanted, options)
    named, count = gone[0].hex(), len(resealed.sealed.recipients)
    print_result(
        f"no longer sealed to {named}; {count} tokens are left (ledger entry {index})\n{_KEEPS}",
        {"spki_sha256": named, "recipients": count, "ledger_index": index},
        as_json=as_json,
    )


@app.command("try")
def try_(
    *,
    module: Annotated[
        Path | None, typer.Option("--module", help="The token's PKCS#11 module, if not as configured.")
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", help="Its label or PKCS#11 URI, if not as configured.")
    ] = None,
    sealing_key: Annotated[
        str | None, typer.Option("--sealing-key", help="Label or pkcs11: URI of its key, likewise.")
    ] = None,
    hsm_env: Annotated[
        list[str] | None,
        typer.Option("--hsm-env", help="NAME=VALUE for the module, beside those of the settings."),
    ] = None,
    pin: PinOption = None,
    key_holder: KeyHolderOption = DEFAULT_KEY_HOLDER,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Has a token open the secrets, and changes nothing: whether the spare in the safe would do."""
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.recipients import opened_by
    from signerd.config import HsmSettings

    files = _loaded(config, key_holder)
    settings = files.settings
    said = {"module": module, "token": token, "sealing_key": sealing_key}
    hsm = HsmSettings.model_validate(
        {
            **settings.hsm.model_dump(),
            **{name: value for name, value in said.items() if value is not None},
            "environment": {**settings.hsm.environment, **environment(hsm_env or ())},
        }
    )
    settings = settings.model_copy(update={"hsm": hsm})
    opened = _with_pin(replace(files, settings=settings), pin, lambda known: opened_by(settings, known))
    named, roles = opened.own.spki_sha256().hex(), [role.value for role in opened.sealed.secrets]
    print_result(
        f"{named} opens {' and '.join(roles)}, and they are this installation's",
        {"spki_sha256": named, "opens": roles},
        as_json=as_json,
    )


@dataclass(frozen=True)
class _Files:
    """signerd's settings, in which the token is that of whoever has it."""

    config: Path
    settings: Config
    token_base: Path  # the directory of the settings that name the token


def _loaded(config: Path, key_holder: Path) -> _Files:
    from signerd.adapters.keyholder.service.settings import who_has_the_token
    from signerd.config import load

    settings = load(config)
    token, base = who_has_the_token(settings, config, key_holder)
    return _Files(config, settings.model_copy(update={"hsm": token.hsm}), base)


def _change(
    files: _Files,
    pin: str | None,
    wanted: Callable[[Sequence[KnownRecipient]], Sequence[Recipient]],
    options: Approving,
) -> tuple[Resealed, int]:
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.recipients import change

    def announce(recipients: Sequence[bytes]) -> int:
        request = admin_pb2.CommitRecipientsRequest(spki_sha256=recipients)
        action = admin_pb2.PrepareApprovalRequest.Action(commit_recipients=request)
        with administration(files.config) as daemon, asking(daemon, options, lambda: [action]):
            return daemon.CommitRecipients(options.on(request)).ledger_index

    base = files.config.resolve().parent
    return _with_pin(files, pin, lambda known: change(files.settings, base, known, wanted, announce))


def _with_pin(files: _Files, pin: str | None, work: Callable[[bytearray], _Done]) -> _Done:
    from signerd.adapters.pin import read_pin

    secret = read_pin(pin or files.settings.hsm.pin, files.token_base)
    try:
        return work(secret)
    finally:
        secret[:] = bytes(len(secret))


def _kind(known: KnownRecipient) -> str:
    return "" if known.in_file is None else known.in_file.kind


def _plain(known: KnownRecipient) -> dict[str, object]:
    return {
        "spki_sha256": known.spki_sha256.hex(),
        "key": _kind(known),
        "in_file": known.in_file is not None,
        "in_ledger": known.in_ledger,
    }
