"""`signerd ca …`: issuers of boards' certificates, one after the other."""
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
    PinOption,
    TokenOption,
    environment,
    module_of,
)
from signerd.core.names import FIRST

if TYPE_CHECKING:
    from birthmark.v1 import admin_pb2
    from signerd.adapters.installation.further_issuer import Files
    from signerd.config import Keys, TokenSettings

app = typer.Typer(
    help="CAs of boards: each has issuers (sub-CA certificates), of which one is active.",
    no_args_is_help=True,
)
NameArgument = Annotated[str, typer.Argument(help="The issuer's name, such as main-2034.")]


@app.command("list")
def list_(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Lists issuers: which is active, and whether its key answers."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import print_json, print_table

    with administration(config) as daemon:
        issuers = daemon.ListIssuers(admin_pb2.ListIssuersRequest()).issuers
    found = [_plain(issuer) for issuer in issuers]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["name"],
            each["ca"],
            each["state"],
            "yes" if each["serving"] else "no",
            each["not_after"] or "not in the settings",
            each["certificate_sha256"],
        )
        for each in found
    ]
    print_table("Issuers", ("name", "CA", "state", "key answers", "ends", "certificate SHA-256"), rows)


@app.command()
def request(
    name: NameArgument,
    *,
    module: ModuleOption = None,
    token: TokenOption = None,
    pin: Annotated[
        str | None,
        typer.Option(
            "--pin",
            help="tpm:PATH, file:PATH, credential:NAME, fd:N, prompt. Kept in the settings with --token, else"
            " for this time.",
        ),
    ] = None,
    hsm_env: EnvironmentOption = None,
    ca_key: Annotated[
        str | None,
        typer.Option("--ca-key", help="Label or pkcs11: URI of a key in the token: taken, and not made."),
    ] = None,
    key_type: Annotated[
        str,
        typer.Option("--key-type", help="Type of a key that is made: p256, p384, rsa2048, rsa3072, rsa4096."),
    ] = "p256",
    common_name: Annotated[
        str | None, typer.Option("--common-name", help="In the request. Default: DEPLOYMENT device CA NAME.")
    ] = None,
    key_holder: KeyHolderOption = DEFAULT_KEY_HOLDER,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Makes a CA key in a token, and the request for its certificate. Nothing else changes."""
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.installation import further_issuer
    from signerd.adapters.keyholder.service.settings import who_has_the_token
    from signerd.adapters.pin import absolute
    from signerd.config import load
    from signerd.core.issuer_algorithm import KEY_TYPES

    if key_type not in KEY_TYPES:
        raise typer.BadParameter(f"--key-type takes {' or '.join(KEY_TYPES)}")
    settings, base = who_has_the_token(load(config), config, key_holder)
    files = _files(base, name)
    chosen = _token(settings, name, module, token, pin, environment(hsm_env), ca_key)
    cn = common_name or f"{settings.deployment} device CA {name}"[:64]
    path = further_issuer.request(
        settings,
        files,
        chosen,
        key_type=key_type,
        taken=ca_key is not None,
        cn=cn,
        pin_source=None if pin is None else absolute(pin),
    )
    print_result(
        f"have the root sign {path}, then: signerd ca add {name} --certificate FILE --root FILE",
        {"request": str(path), "token": chosen.token, "ca_key": chosen.ca_key},
        as_json=as_json,
    )


@app.command()
def add(
    name: NameArgument,
    *,
    certificate: Annotated[
        list[Path],
        typer.Option(
            "--certificate",
            help="The sub-CA's certificate and those above it, in any order: PEM, DER or PKCS #7. Again for"
            " each file.",
        ),
    ],
    root: Annotated[Path, typer.Option("--root", help="The root that relying parties pin.")],
    ca: Annotated[
        str, typer.Option("--ca", help="The CA that products name; a new one where none has it.")
    ] = FIRST,
    same_key_as: Annotated[
        str | None,
        typer.Option("--same-key-as", help="An issuer whose key this is a newer certificate of."),
    ] = None,
    pin: PinOption = None,
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request_file: RequestOption = None,
    valid_days: DaysOption = DAYS,
    key_holder: KeyHolderOption = DEFAULT_KEY_HOLDER,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Announces an issuer in the ledger, and adds it to the settings. It issues once it is activated."""
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.installation import further_issuer
    from signerd.adapters.keyholder.service.settings import who_has_the_token
    from signerd.adapters.pin import absolute
    from signerd.config import load

    settings = load(config)
    keys, base = who_has_the_token(settings, config, key_holder)
    source = None if pin is None else absolute(pin)
    prepared = further_issuer.prepare(keys, _files(base, name), certificate, root, same_key_as, source)
    options = approving(approval, signature, request_file, valid_days, name=f"ca-add-{name}", as_json=as_json)
    index = _announce(config, name, ca, prepared, options)
    service = settings.hsm.service
    if service is None:
        further_issuer.write_section(config.resolve(), name, prepared)
    else:
        held = key_holder.resolve()
        further_issuer.write_sections(config.resolve(), held, service, name, ca, prepared)
    restarted = "signerd" if service is None else "the key holder's service, then signerd"
    print_result(
        f"issuer {name} of CA {ca} is announced (ledger entry {index}), and in {config}\n"
        f"where its root is another one, give that to auditors and stations; restart {restarted}; then:\n"
        f"signerd ca activate {name}",
        {"issuer": name, "ca": ca, "ledger_index": index},
        as_json=as_json,
    )


@app.command()
def activate(
    name: NameArgument,
    *,
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request_file: RequestOption = None,
    valid_days: DaysOption = DAYS,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Makes this issuer sign the certificates of its CA's products from here on. It can be taken back."""
    from birthmark.v1 import admin_pb2

    changing = admin_pb2.ChangeIssuerRequest(name=name)
    options = approving(
        approval, signature, request_file, valid_days, name=f"ca-activate-{name}", as_json=as_json
    )
    action = admin_pb2.PrepareApprovalRequest.Action(activate_issuer=changing)
    answer = approved(config, options, action, lambda daemon: daemon.ActivateIssuer(options.on(changing)))
    _print(f"issuer {name} issues for CA {answer.issuer.ca} from here on", answer, as_json=as_json)


@app.command()
def retire(
    name: NameArgument,
    *,
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request_file: RequestOption = None,
    valid_days: DaysOption = DAYS,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Ends an issuer for ever: it never signs a certificate again. Its CRLs go on while its key is there."""
    from birthmark.v1 import admin_pb2

    changing = admin_pb2.ChangeIssuerRequest(name=name)
    options = approving(
        approval, signature, request_file, valid_days, name=f"ca-retire-{name}", as_json=as_json
    )
    action = admin_pb2.PrepareApprovalRequest.Action(retire_issuer=changing)
    answer = approved(config, options, action, lambda daemon: daemon.RetireIssuer(options.on(changing)))
    _print(
        f"issuer {name} is retired; go on with its CRLs: signerd crl --issuer {name}", answer, as_json=as_json
    )


def _files(base: Path, name: str) -> Files:
    from signerd.adapters.installation.further_issuer import Files
    from signerd.core.names import is_name

    if not is_name(name):
        raise typer.BadParameter("a name has 1 to 64 of [A-Za-z0-9._-], beginning with a letter or digit")
    return Files(base, name)


def _token(
    settings: Keys,
    name: str,
    module: str | None,
    token: str | None,
    pin: str | None,
    env: dict[str, str],
    ca_key: str | None,
) -> TokenSettings:
    from pydantic import ValidationError

    from signerd.adapters.pin import absolute
    from signerd.config import TokenSettings
    from signerd.core.file_problems import in_one_line, problems

    hsm = settings.hsm
    if token is None and (module is not None or env):
        raise typer.BadParameter("--module and --hsm-env go with --token: all of one token")
    if token is not None and pin is None:
        raise typer.BadParameter("--pin: say where the PIN of this token comes from")
    values: dict[str, Any] = {
        "module": str(module_of(module) if module is not None else hsm.module),
        "token": token or hsm.token,
        "pin": hsm.pin if token is None or pin is None else absolute(pin),
        "environment": env or ({} if module is not None else hsm.environment),
        "ca_key": ca_key or f"birthmark-ca-{name}",
    }
    try:
        return TokenSettings.model_validate(values)
    except ValidationError as error:
        raise typer.BadParameter(in_one_line(problems(error))) from error


def _announce(config: Path, name: str, ca: str, prepared: Any, options: Approving) -> int:
    """The ledger index: of the entry that is made, or that an add which was cut short made."""
    import hashlib

    from cryptography.hazmat.primitives.serialization import Encoding

    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration

    chain = [each.public_bytes(Encoding.DER) for each in prepared.chain]
    root = prepared.root.public_bytes(Encoding.DER)
    with administration(config) as daemon:
        for known in daemon.ListIssuers(admin_pb2.ListIssuersRequest()).issuers:
            same = known.certificate_sha256 == hashlib.sha256(chain[0]).digest()
            if (known.name, known.ca) == (name, ca) and same:
                return int(known.added_index)
        adding = admin_pb2.AddIssuerRequest(name=name, ca=ca, chain_der=chain, root_der=root)
        action = admin_pb2.PrepareApprovalRequest.Action(add_issuer=adding)
        with asking(daemon, options, lambda: [action]):
            made = daemon.AddIssuer(options.on(adding))
    return int(made.ledger_index)


def _print(said: str, answer: admin_pb2.ChangeIssuerResponse, *, as_json: bool) -> None:
    from signerd.adapters.cli.output import print_result

    document = {**_plain(answer.issuer), "ledger_index": answer.ledger_index}
    print_result(f"{said} (ledger entry {answer.ledger_index})", document, as_json=as_json)


def _plain(issuer: admin_pb2.Issuer) -> dict[str, Any]:
    """For JSON."""
    from birthmark.v1 import admin_pb2

    ends = f"{issuer.not_after.ToDatetime():%Y-%m-%dT%H:%M:%SZ}" if issuer.HasField("not_after") else None
    return {
        "name": issuer.name,
        "ca": issuer.ca,
        "state": admin_pb2.IssuerState.Name(issuer.state).removeprefix("ISSUER_STATE_").lower(),
        "serving": issuer.serving,
        "not_after": ends,
        "certificate_sha256": issuer.certificate_sha256.hex(),
        "root_sha256": issuer.root_sha256.hex(),
        "added_index": issuer.added_index,
    }
