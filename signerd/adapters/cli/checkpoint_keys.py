"""`signerd checkpoint-key …`: the keys that sign the log, one after the other."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

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
    approved,
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
    TokenOption,
    environment,
    module_of,
)

if TYPE_CHECKING:
    from birthmark.v1 import admin_pb2
    from signerd.adapters.installation.further_checkpoint_key import MadeKey
    from signerd.config import CheckpointKeySettings, Keys

app = typer.Typer(
    help="Keys that sign the log's checkpoints: a successor is announced under the key before it.",
    no_args_is_help=True,
)
KeyArgument = Annotated[str, typer.Argument(help="The key's id, 8 digits: signerd checkpoint-key list.")]
REASONS = ("superseded", "lost", "compromised")


@app.command("list")
def list_(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Lists the keys of the log, the oldest first, and whether each answers."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import print_json, print_table

    with administration(config) as daemon:
        keys = daemon.ListCheckpointKeys(admin_pb2.ListCheckpointKeysRequest()).keys
    found = [_plain(key) for key in keys]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["key"],
            each["state"],
            "yes" if each["serving"] else "no",
            *(
                "" if each[name] is None else str(each[name])
                for name in ("added_index", "activated_index", "retired_index")
            ),
            each["vkey"],
        )
        for each in found
    ]
    header = ("key", "state", "answers", "added", "signs from", "retired", "verifier key")
    print_table("Keys of the log", header, rows)


@app.command()
def add(
    *,
    module: ModuleOption = None,
    token: TokenOption = None,
    pin: Annotated[
        str | None,
        typer.Option("--pin", help="file:PATH, credential:NAME, fd:N or prompt; kept in the settings."),
    ] = None,
    hsm_env: EnvironmentOption = None,
    key_in: Annotated[
        str | None,
        typer.Option("--in", help="token, or sealed to it. Default: as the log's first key is kept."),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Label of the key that is made in the token.")
    ] = None,
    spare: Annotated[
        list[Path] | None,
        typer.Option("--spare", help="Public key, PEM, of a token that opens a sealed one too."),
    ] = None,
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request_file: RequestOption = None,
    valid_days: DaysOption = DAYS,
    key_holder: KeyHolderOption = DEFAULT_KEY_HOLDER,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Makes a successor of the log's key, announces it in the ledger, and adds it to the settings.

    It signs once it is activated. An add that was cut short, or waits for an approval, goes on with its key.
    """
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.installation import further_checkpoint_key
    from signerd.adapters.keyholder.service.settings import who_has_the_token
    from signerd.adapters.recipients import read_parts
    from signerd.config import database_url, load

    settings = load(config)
    keys, base = who_has_the_token(settings, config, key_holder)
    made = further_checkpoint_key.begun(base)
    if made is None:
        _demand_room(config)
        wanted = _wanted(keys, module, token, pin, environment(hsm_env), key_in, key)
        sealed = wanted.key_in == "sealed"
        url, head = database_url(settings, config.resolve().parent), settings.ledger.head
        there = read_parts(keys, url, head) if sealed else []
        recipients = further_checkpoint_key.recipients_of(there, spare or ()) if sealed else []
        made = further_checkpoint_key.make(keys, base, wanted, recipients)
    key_id = made.verifier.key_id.hex()
    options = approving(
        approval, signature, request_file, valid_days, name=f"checkpoint-key-add-{key_id}", as_json=as_json
    )
    index = _announce(config, made, options)
    service = settings.hsm.service
    further_checkpoint_key.finish(config.resolve(), made, service, key_holder.resolve())
    restarted = "signerd" if service is None else "the key holder's service, then signerd"
    print_result(
        f"key {key_id} is announced (ledger entry {index}), and in {config}\n"
        f"restart {restarted}; then: signerd checkpoint-key activate {key_id}\n{made.verifier.text()}",
        {"key": key_id, "vkey": made.verifier.text(), "ledger_index": index},
        as_json=as_json,
    )


@app.command()
def activate(key: KeyArgument, *, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Makes this key sign each checkpoint from here on, beside the key before it."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration

    with administration(config) as daemon:
        answer = daemon.ActivateCheckpointKey(admin_pb2.ActivateCheckpointKeyRequest(key_id=key))
    _print(
        f"key {key} signs from here on, beside the key before it; stations learn it while both sign:"
        " docs/operations.md, 'The log's key'",
        answer,
        as_json=as_json,
    )


@app.command()
def retire(
    key: KeyArgument,
    *,
    reason: Annotated[
        str, typer.Option("--reason", help=f"For the ledger: {', '.join(REASONS)}.")
    ] = "superseded",
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request_file: RequestOption = None,
    valid_days: DaysOption = DAYS,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Ends a key: it never signs again. A key that was announced alone is taken back."""
    from birthmark.v1 import admin_pb2

    if reason not in REASONS:
        raise typer.BadParameter(f"--reason takes {', '.join(REASONS)}")
    value = admin_pb2.CheckpointKeyReason.Value(f"CHECKPOINT_KEY_REASON_{reason.upper()}")
    changing = admin_pb2.RetireCheckpointKeyRequest(key_id=key, reason=value)
    options = approving(
        approval, signature, request_file, valid_days, name=f"checkpoint-key-retire-{key}", as_json=as_json
    )
    action = admin_pb2.PrepareApprovalRequest.Action(retire_checkpoint_key=changing)
    answer = approved(
        config, options, action, lambda daemon: daemon.RetireCheckpointKey(options.on(changing))
    )
    _print(
        f"key {key} signs no more; take it out of the settings: its section of [[checkpoint_keys]], or"
        ' hsm.checkpoint_key_in = "none" for the first one',
        answer,
        as_json=as_json,
    )


def _wanted(
    settings: Keys,
    module: str | None,
    token: str | None,
    pin: str | None,
    env: dict[str, str],
    key_in: str | None,
    key: str | None,
) -> CheckpointKeySettings:
    from pydantic import ValidationError

    from signerd.adapters.pin import absolute
    from signerd.config import CheckpointKeySettings
    from signerd.core.file_problems import in_one_line, problems

    hsm = settings.hsm
    if token is None and (module is not None or pin is not None or env):
        raise typer.BadParameter("--module, --pin and --hsm-env go with --token: all of one token")
    if token is not None and pin is None:
        raise typer.BadParameter("--pin: say where the PIN of this token comes from")
    place = key_in or ("sealed" if hsm.checkpoint_key_in == "sealed" else "token")
    number = len(settings.checkpoint_keys) + 2
    values: dict[str, Any] = {
        "module": str(module_of(module) if module is not None else hsm.module),
        "token": token or hsm.token,
        "pin": absolute(pin) if pin else hsm.pin,
        "environment": env or ({} if module is not None else hsm.environment),
        "key_in": place,
        "key": key or f"birthmark-checkpoint-{number}",
        "sealing_key": hsm.sealing_key,
        "vkey": "next.vkey",
        "sealed": "next.sealed.json" if place == "sealed" else None,
    }
    try:
        return CheckpointKeySettings.model_validate(values)
    except ValidationError as error:
        raise typer.BadParameter(in_one_line(problems(error))) from error


def _demand_room(config: Path) -> None:
    """Before a key is made. The ledger decides again when it is announced."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.core.checkpoint_keys import MAX_SIGNERS
    from signerd.errors import Code, Refused

    with administration(config) as daemon:
        keys = daemon.ListCheckpointKeys(admin_pb2.ListCheckpointKeysRequest()).keys
    there = [key.key_id for key in keys if key.state != admin_pb2.CHECKPOINT_KEY_STATE_RETIRED]
    if len(there) >= MAX_SIGNERS:
        detail = f"the log has keys {' and '.join(there)}, and may have no more: retire one of them first"
        raise Refused(Code.INVALID, detail)


def _announce(config: Path, made: MadeKey, options: Approving) -> int:
    """The ledger index: of the entry that is made, or that an add which was cut short made."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration

    with administration(config) as daemon:
        for known in daemon.ListCheckpointKeys(admin_pb2.ListCheckpointKeysRequest()).keys:
            if known.vkey == made.verifier.text():
                return int(known.added_index)
        adding = admin_pb2.AddCheckpointKeyRequest(vkey=made.verifier.text(), recipients=made.recipients)
        action = admin_pb2.PrepareApprovalRequest.Action(add_checkpoint_key=adding)
        with asking(daemon, options, lambda: [action]):
            answer = daemon.AddCheckpointKey(options.on(adding))
    return int(answer.ledger_index)


def _print(said: str, answer: admin_pb2.ChangeCheckpointKeyResponse, *, as_json: bool) -> None:
    from signerd.adapters.cli.output import print_result

    document = {**_plain(answer.key), "ledger_index": answer.ledger_index}
    print_result(f"{said} (ledger entry {answer.ledger_index})", document, as_json=as_json)


def _plain(key: admin_pb2.CheckpointKey) -> dict[str, Any]:
    """For JSON."""
    from birthmark.v1 import admin_pb2

    return {
        "key": key.key_id,
        "vkey": key.vkey,
        "state": admin_pb2.CheckpointKeyState.Name(key.state).removeprefix("CHECKPOINT_KEY_STATE_").lower(),
        "serving": key.serving,
        "added_index": key.added_index,
        "activated_index": key.activated_index if key.HasField("activated_index") else None,
        "retired_index": key.retired_index if key.HasField("retired_index") else None,
    }
