"""`signerd recipient …`: which tokens open what is sealed."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    EnvironmentOption,
    JsonOption,
    KeyHolderOption,
    ModuleOption,
    PinOption,
    TokenOption,
    environment,
    module_of,
)

if TYPE_CHECKING:
    from signerd.adapters.recipients import KnownRecipient, Pins, SealedPart
    from signerd.config import AnyTokenSettings, Keys
    from signerd.core.recipient import Recipient

app = typer.Typer(help="Recipients: the tokens that open what is sealed.", no_args_is_help=True)
_SHORT = 8  # digits of a key's digest in the name of a request
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

    found = known_recipients(_loaded(config, key_holder).parts())
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
    """Seals the secrets to another token too, with the one that is in place. signerd goes on meanwhile."""
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.installation.places import read_recipient
    from signerd.adapters.recipients import with_one_more

    new = read_recipient(file)
    named = new.spki_sha256().hex()
    name = f"recipient-add-{named[:_SHORT]}"
    options = approving(approval, signature, request, valid_days, name=name, as_json=as_json)
    count, index = _change(_loaded(config, key_holder), pin, lambda parts: with_one_more(parts, new), options)
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
    """Seals to one token less. The secrets stay the same: its holder with an old file keeps them."""
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.recipients import with_one_less

    gone: list[bytes] = []

    def wanted(parts: Sequence[SealedPart]) -> Sequence[Sequence[Recipient]]:
        named, left = with_one_less(parts, key, no_spare=no_spare)
        gone.append(named)
        return left

    name = f"recipient-remove-{key.lower()[:_SHORT]}"
    options = approving(approval, signature, request, valid_days, name=name, as_json=as_json)
    count, index = _change(_loaded(config, key_holder), pin, wanted, options)
    named = gone[0].hex()
    print_result(
        f"no longer sealed to {named}; {count} tokens are left (ledger entry {index})\n{_KEEPS}",
        {"spki_sha256": named, "recipients": count, "ledger_index": index},
        as_json=as_json,
    )


@app.command("try")
def try_(
    *,
    module: ModuleOption = None,
    token: TokenOption = None,
    sealing_key: Annotated[
        str | None, typer.Option("--sealing-key", help="Label or pkcs11: URI of its key, likewise.")
    ] = None,
    hsm_env: EnvironmentOption = None,
    pin: PinOption = None,
    key_holder: KeyHolderOption = DEFAULT_KEY_HOLDER,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Has a token open the secrets, and changes nothing: whether the spare in the safe would do."""
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.recipients import opened_by

    files = _loaded(config, key_holder)
    said = {
        "module": module_of(module) if module is not None else None,
        "token": token,
        "sealing_key": sealing_key,
    }
    given = {name: value for name, value in said.items() if value is not None}
    parts = files.parts()
    hsm = parts[0].settings  # in the place of which the token is plugged in, also of further ones
    at_hand = {
        **{name: getattr(hsm, name) for name in ("module", "token", "sealing_key")},
        **given,
        "environment": {**hsm.environment, **environment(hsm_env)},
    }
    tried = [replace(part, settings=_with(part.settings, at_hand)) for part in parts]
    with _pins(files, pin or hsm.pin) as pins:
        opened = opened_by(files.keys, tried, pins(tried[0].settings))
    named = opened.own.spki_sha256().hex()
    print_result(
        f"{named} opens {' and '.join(opened.secrets)}, and they are this installation's",
        {"spki_sha256": named, "opens": opened.secrets},
        as_json=as_json,
    )


@dataclass(frozen=True)
class _Files:
    """signerd's settings, and those of whoever has the tokens: signerd, or a key holder's service."""

    config: Path
    database: str  # URL
    head: Path  # the second place
    keys: Keys
    base: Path  # the directory of `keys`

    def parts(self) -> list[SealedPart]:
        """What is sealed."""
        from signerd.adapters.recipients import demand_parts

        return demand_parts(self.keys, self.database, self.head)


def _loaded(config: Path, key_holder: Path) -> _Files:
    from signerd.adapters.keyholder.service.settings import who_has_the_token
    from signerd.config import database_url, load

    settings = load(config)
    keys, base = who_has_the_token(settings, config, key_holder)
    url = database_url(settings, config.resolve().parent)
    return _Files(config, url, settings.ledger.head, keys, base)


def _with(settings: AnyTokenSettings, given: dict[str, object]) -> Any:
    """Another token for the same secrets."""
    return type(settings).model_validate(settings.model_dump(exclude_unset=True) | given)


def _change(
    files: _Files,
    pin: str | None,
    wanted: Callable[[Sequence[SealedPart]], Sequence[Sequence[Recipient]]],
    options: Approving,
) -> tuple[int, int]:
    """How many recipients there are, and the ledger index of the entry."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.installation.further_checkpoint_key import demand_none_begun
    from signerd.adapters.recipients import change

    demand_none_begun(files.base)

    def announce(recipients: Sequence[bytes]) -> int:
        request = admin_pb2.CommitRecipientsRequest(spki_sha256=recipients)
        action = admin_pb2.PrepareApprovalRequest.Action(commit_recipients=request)
        with administration(files.config) as daemon, asking(daemon, options, lambda: [action]):
            return daemon.CommitRecipients(options.on(request)).ledger_index

    with _pins(files, pin) as pins:
        named, index = change(files.keys, files.parts, pins, wanted, announce)
    return len(named), index


@contextmanager
def _pins(files: _Files, given: str | None) -> Iterator[Pins]:
    """Each token's PIN, read once. `given` is that of the first token that is asked for; `prompt` asks for
    each."""
    from signerd.adapters.pin import read_pin

    known: dict[tuple[Path, str], bytearray] = {}

    def pin_of(token: AnyTokenSettings) -> bytearray:
        named = token.module, token.token
        if named not in known:
            source = given if given is not None and (not known or given == "prompt") else token.pin
            known[named] = read_pin(source, files.base, f"the token {token.token}")
        return known[named]

    try:
        yield pin_of
    finally:
        for pin in known.values():
            pin[:] = bytes(len(pin))


def _kind(known: KnownRecipient) -> str:
    return "" if known.in_file is None else known.in_file.kind


def _plain(known: KnownRecipient) -> dict[str, object]:
    return {
        "spki_sha256": known.spki_sha256.hex(),
        "key": _kind(known),
        "in_file": known.in_file is not None,
        "in_ledger": known.in_ledger,
        "opens": [secret for part in known.opens for secret in part.secrets],
    }
