"""`signerd token`: looks at HSM tokens, before and after they are used."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from signerd.adapters.cli.options import (
    DEFAULT_KEY_HOLDER,
    EnvironmentOption,
    JsonOption,
    KeyHolderOption,
    environment,
    module_of,
)
from signerd.adapters.cli.output import print_json, print_table

if TYPE_CHECKING:
    from signerd.adapters.keyholder.token_probe import ProbeReport

app = typer.Typer(help="HSM tokens.", no_args_is_help=True)
_HOLDS = "holds"


@app.callback()
def _noun() -> None:
    """HSM tokens."""


@app.command("probe")
def probe(
    module: Annotated[str, typer.Argument(help="The HSM's PKCS#11 module: a path, or a library's name.")],
    *,
    token: Annotated[
        str,
        typer.Option("--token", help="Label, serial number or PKCS#11 URI, where there are several tokens."),
    ] = "",
    pin: Annotated[
        str | None,
        typer.Option(
            "--pin",
            help="prompt, tpm:PATH, file:PATH, credential:NAME or fd:N. A rejected one is not tried again."
            " Without it: what needs no login.",
        ),
    ] = None,
    hsm_env: EnvironmentOption = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, max=600, help="How long each kind of signature is repeated.")
    ] = 1.0,
    idle: Annotated[
        float,
        typer.Option("--idle", min=0, max=86_400, help="Seconds without a call; then the session is used."),
    ] = 0.0,
    deadline: Annotated[
        float, typer.Option("--deadline", min=0.1, max=600, help="Seconds that one call may take.")
    ] = 30.0,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="An installation on this token, whose note of rejected PINs is kept too."
        ),
    ] = None,
    key_holder: KeyHolderOption = DEFAULT_KEY_HOLDER,
    as_json: JsonOption = False,
) -> None:
    """Says what a token offers, which of signerd's keys it can hold, how fast it signs. Changes nothing."""
    from signerd.adapters.keyholder.probe_pin import ProbePin
    from signerd.adapters.keyholder.service.settings import who_has_the_token
    from signerd.adapters.keyholder.token_probe import ProbeOrder, look
    from signerd.adapters.pin import read_pin
    from signerd.config import load

    place, choice = str(module_of(module)), _checked(token)
    installation = None if config is None else who_has_the_token(load(config), config, key_holder)[0]
    known = None
    if pin is not None:
        known = ProbePin(bytes(read_pin(pin, Path.cwd())), place, choice, installation)
        known.look()
    order = ProbeOrder(
        module=place,
        token=choice,
        pin=known,
        environment=environment(hsm_env),
        seconds=seconds,
        idle_s=idle,
        deadline_s=deadline,
    )
    report = look(order, _progress(quiet=as_json))
    document = _document(report)
    if as_json:
        print_json(document)
    else:
        _print(document)
    if report.fault is not None:
        raise report.fault
    _demand_signatures(document)


def _checked(token: str) -> str:
    from signerd.core.token_choice import token_choice

    try:
        return token_choice(token).text
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--token") from error


def _progress(*, quiet: bool) -> Any:
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return lambda _: None
    return lambda what: console.print(f"{what} …", style="dim", markup=False, highlight=False)


def _document(report: ProbeReport) -> dict[str, Any]:
    from signerd.core.token_roles import Where, roles

    parts: dict[str, Any] = dict(report.parts)
    if "mechanisms" in parts:
        flags = {each["name"]: frozenset(each["flags"]) for each in parts["mechanisms"]}
        found = roles(flags)
        parts["roles"] = [
            {"key": each.role, "where": each.where.value, "used_by": each.used_by, "made_by": each.made_by}
            for each in found
        ]
        parts["sealed"] = [each.role for each in found if each.where is Where.SEALED]
    fault = None if report.fault is None else str(report.fault)
    return {**parts, "said": report.said, "fault": fault}


def _demand_signatures(document: Mapping[str, Any]) -> None:
    from signerd.errors import Fault

    wrong = [
        f"{each['mechanism']} with {each['key']!r}" for each in document.get("tried", ()) if _wrong(each)
    ]
    if wrong:
        raise Fault(f"what the token gives does not hold: {'; '.join(wrong)}: do not use it")


def _wrong(trial: Mapping[str, Any]) -> bool:
    return bool(trial["outcome"] == "does not hold")


def _print(document: Mapping[str, Any]) -> None:
    if "module" in document:
        print_table("Module", ("what", "value"), _facts(document["module"]))
    if "token" in document:
        login = {"login": f"{document['login_ms']:g} ms"} if "login_ms" in document else {}
        print_table("Token", ("what", "value"), _facts({**document["token"], **login}))
    if "roles" in document:
        print_table("Keys of signerd", ("key", "where", "used by", "made by"), map(_role, document["roles"]))
    if "mechanisms" in document:
        rows = [
            (f"CKM_{each['name']}", f"{each['least']} to {each['most']}", ", ".join(each["flags"]))
            for each in document["mechanisms"]
        ]
        print_table("Mechanisms", ("mechanism", "key sizes", "for"), rows)
    if document.get("keys"):
        print_table("Keys in it", ("label", "id", "type", "attributes"), map(_key, document["keys"]))
    if document.get("tried"):
        columns = ("key", "mechanism", "outcome", "a second", "median", "slowest")
        print_table("Tried", columns, map(_trial, document["tried"]))
    if "idle" in document:
        idle = document["idle"]
        typer.echo(f"after {idle['seconds']:g} s without a call: {idle['outcome']}")
    if document["said"]:
        typer.echo(f"the module said: {document['said'].strip()}")


def _facts(facts: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    return [
        (name, ", ".join(value) if isinstance(value, list) else str(value)) for name, value in facts.items()
    ]


def _role(role: Mapping[str, str]) -> tuple[str, str, str, str]:
    used_by, made_by = (f"CKM_{role[name]}" if role[name] else "" for name in ("used_by", "made_by"))
    return role["key"], role["where"], used_by, made_by or ("the vendor's tool" if used_by else "")


def _key(key: Mapping[str, Any]) -> tuple[str, str, str, str]:
    said = [name for name, value in key.items() if value is True]
    said += [f"not {name}" for name in ("sensitive", "extractable") if key[name] is False]
    return key["label"], key["id"], key["type"], ", ".join(said)


def _trial(trial: Mapping[str, Any]) -> tuple[str, str, str, str, str, str]:
    rate, median, slowest = trial["per_second"], trial["median_ms"], trial["slowest_ms"]
    named = trial["key"] or trial["id"]
    times = (f"{rate:g}", f"{median:g} ms", f"{slowest:g} ms")
    return named, f"CKM_{trial['mechanism']}", trial["outcome"], *times
