"""`signerd pin …`: the token's PIN, sealed under this machine's TPM."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from signerd.adapters.cli.options import JsonOption
from signerd.core.tpm_reference import DEFAULT_TCTI, checked_tcti, pcr_numbers

app = typer.Typer(help="The token's PIN, sealed under this machine's TPM 2.0.", no_args_is_help=True)
FileArgument = Annotated[Path, typer.Argument(help='The sealed PIN; hsm.pin = "tpm:FILE" names it.')]
TpmOption = Annotated[
    str, typer.Option("--tpm", metavar="TCTI", help="The TPM: device:PATH, tabrmd or swtpm:path=SOCKET.")
]
_Value = TypeVar("_Value")


@app.command("seal")
def seal(
    file: FileArgument,
    *,
    pin: Annotated[
        str,
        typer.Option("--pin", help="Where it comes from: prompt, fd:N, file:PATH or credential:NAME."),
    ] = "prompt",
    tpm: TpmOption = DEFAULT_TCTI,
    pcr: Annotated[
        str,
        typer.Option("--pcr", help="PCRs that have to stay as they are now, such as 7 (Secure Boot) or 0,7."),
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replaces a file that is there already.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Seals the PIN, so that only this machine opens it. It asks no token whether the PIN is right."""
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.sealed_pin_file import seal_pin

    tcti, pcrs = _of(checked_tcti, tpm, "--tpm"), _of(pcr_numbers, pcr, "--pcr")
    secret = _read(pin)
    try:
        sealed = seal_pin(file, secret, tcti, pcrs, replace=replace)
    finally:
        secret[:] = bytes(len(secret))
    named = f"tpm:{file.absolute()}{'' if tcti == DEFAULT_TCTI else f'?tcti={tcti}'}"
    print_result(
        f"sealed{_while(pcrs)}, and opened again to be sure\n"
        f'in signerd.toml: pin = "{named}"\n'
        "keep the PIN in a safe all the same: a broken or cleared TPM opens nothing",
        {"pin": named, "pcrs": list(pcrs), "parent_handle": f"{sealed.key.parent_handle:08x}"},
        as_json=as_json,
    )


@app.command("try")
def try_(file: FileArgument, *, tpm: TpmOption = DEFAULT_TCTI, as_json: JsonOption = False) -> None:
    """Opens it and shows nothing of it: whether signerd could start with it now. No token is asked."""
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.sealed_pin_file import open_pin, read_file

    tcti = _of(checked_tcti, tpm, "--tpm")
    secret = open_pin(file, tcti)
    secret[:] = bytes(len(secret))
    pcrs = read_file(file).key.pcrs
    print_result(
        f"{file}: this machine's TPM opens it{_while(pcrs)}",
        {"file": str(file), "opens": True, "pcrs": list(pcrs)},
        as_json=as_json,
    )


def _read(source: str) -> bytearray:
    from signerd.adapters.pin import read_pin

    secret = read_pin(source, Path.cwd())
    if source == "prompt":  # a slip would cost one of the token's tries at the next start
        again = read_pin(source, Path.cwd())
        same = again == secret
        again[:] = bytes(len(again))
        if not same:
            secret[:] = bytes(len(secret))
            raise typer.BadParameter("the two PINs differ: enter the same one twice", param_hint="--pin")
    return secret


def _of(read: Callable[[str], _Value], text: str, option: str) -> _Value:
    try:
        return read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _while(pcrs: tuple[int, ...]) -> str:
    return f", while PCR {', '.join(map(str, pcrs))} is as it is now" if pcrs else ""
