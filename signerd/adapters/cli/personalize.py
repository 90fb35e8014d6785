"""`signerd chips personalize`: the secrets of chips, for a place that the company trusts.

The order is the security property:

    0  the list is read: a wrong line refuses it whole; where administrators are asked, what they sign is
       written, and nothing else is done
    1  the place for the result is made, so that nothing is derived for what cannot be written
    2  the keys are derived, in a key holder of its own, with the PIN
    3  registry and ledger: who, when, where, which chips, which key, locked or not; durable
    4  the keys are written

A crash before 3 leaves nothing but an empty file or folder. A crash between 3 and 4 leaves chips in the
registry whose key nobody has: they can prove nothing until the command runs again, which gives the same keys.
The other way round, a crash would leave keys outside that no ledger entry speaks of.
"""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signerd.adapters.cli.approvals import (
    DAYS,
    ApprovalOption,
    Approving,
    DaysOption,
    RequestOption,
    SignatureOption,
    approving,
    prepare,
)
from signerd.adapters.cli.options import (
    DEFAULT_CONFIG,
    DEFAULT_KEY_HOLDER,
    ByOption,
    ConfigOption,
    JsonOption,
    KeyHolderOption,
    PinOption,
    administrator,
)
from signerd.core.chip_key import BurnedKey
from signerd.errors import Code, Refused

if TYPE_CHECKING:
    from birthmark.v1 import admin_pb2

BATCH = 10_000  # chips a call, admin.proto
_REGISTERED = (
    "the chips are registered, and nothing is left of their keys: run the command again where there is room,"
    " it gives the same keys"
)

ChipsArgument = Annotated[Path, typer.Argument(help="One chip id a line, no header.")]


def personalize(
    file: ChipsArgument,
    *,
    site: Annotated[str, typer.Option("--site", help="The site where the chips are personalized.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="New file for chip ids and keys, CSV; with --chip, new folder. Closed to others."
        ),
    ],
    key: Annotated[BurnedKey, typer.Option("--key", help="Which secret is burned.")] = BurnedKey.HMAC_SHA256,
    chip: Annotated[
        str | None,
        typer.Option(
            "--chip", help="Key files and espefuse commands for this chip: esp32s2, s3, c3, c6, h2, p4."
        ),
    ] = None,
    key_block: Annotated[
        str | None,
        typer.Option("--key-block", help="With --chip: BLOCK_KEY0 to BLOCK_KEY5. Default: BLOCK_KEY5."),
    ] = None,
    locked: Annotated[
        bool, typer.Option("--locked", help="The chips are locked (secure boot) before they leave the place.")
    ] = False,
    pin: PinOption = None,
    by: ByOption = None,
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request: RequestOption = None,
    valid_days: DaysOption = DAYS,
    key_holder: KeyHolderOption = DEFAULT_KEY_HOLDER,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Enters chips into the registry and writes the key that each is to be given.

    With --chip, ids are unicast MAC addresses in one form: 7c:df:a1:00:00:01. A list with a wrong line is
    refused whole, before a key is derived: what is burned stays burned.

    Whoever has the result can speak for these chips: burn the keys, then destroy it.
    """
    from signerd.adapters.cli.files import read_chip_ids
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.espefuse import (
        KEY_BLOCKS,
        SHEET,
        check_block,
        check_chip,
        check_chip_ids,
        write_files,
    )

    # The last one: it cannot hold a key of flash encryption on most of these chips, and is free for this one.
    block = key_block or KEY_BLOCKS[-1]
    if chip is None and key_block is not None:
        raise typer.BadParameter("--key-block goes with --chip")
    if chip is not None:
        check_chip(chip)
        check_block(block)
        if key is not BurnedKey.HMAC_SHA256:
            raise Refused(
                Code.INVALID,
                f"--chip goes with --key hmac-sha256, the only key of an HMAC key block, and not with {key}",
            )
    who = by or administrator()
    chip_ids = read_chip_ids(file)
    if chip is not None:
        check_chip_ids(file, chip_ids)
    options = approving(
        approval, signature, request, valid_days, name=f"{file.stem}-personalize", as_json=as_json
    )
    registering = _Registering(config, tuple(chip_ids), locked=locked, site=site, key=key, by=who)
    if approval is None:
        registering.prepare_if_asked(options)
    _make_room(out, folder=chip is not None)
    added: int | None = None
    try:
        keys = _derived(config, key_holder, chip_ids, key, pin)
        added = registering.register(options)
        if chip is None:
            _write_csv(out, keys)
            said = f"keys: {out}"
        else:
            write_files(out, keys, chip=chip, block=block, locked=locked)
            said = f"keys, and what to do with them: {out / SHEET}"
    except BaseException as error:
        _remove(out)
        if added is not None and isinstance(error, OSError):
            error.add_note(_REGISTERED)
        raise
    print_result(
        f"{added} of {len(chip_ids)} chips are new in the registry; {said}",
        {"chips": len(chip_ids), "new": added, "out": str(out)},
        as_json=as_json,
    )


def batches(chip_ids: list[str]) -> Iterator[list[str]]:
    """As many chips as one call takes."""
    for start in range(0, len(chip_ids), BATCH):
        yield chip_ids[start : start + BATCH]


def _make_room(out: Path, *, folder: bool) -> None:
    """What exists is never written over: it may be the only copy of keys that are burned already."""
    from signerd.adapters.durable_files import write_new

    if folder:
        out.mkdir(mode=0o700)
        return
    write_new(out, b"", 0o600)


def _remove(out: Path) -> None:
    if out.is_dir():
        shutil.rmtree(out)
    else:
        out.unlink()


def _derived(
    config: Path, key_holder: Path, chip_ids: list[str], key: BurnedKey, pin: str | None
) -> dict[str, bytes]:
    import asyncio

    from signerd.adapters.keyholder.personalization import derive_chip_keys
    from signerd.adapters.keyholder.pool import rejected_pins
    from signerd.adapters.keyholder.service.settings import who_has_the_token
    from signerd.adapters.pin import read_pin
    from signerd.config import load

    settings, base = who_has_the_token(load(config), config, key_holder)
    hsm, rejected = settings.hsm, rejected_pins(settings)
    secret = read_pin(pin or hsm.pin, base)
    try:
        return asyncio.run(derive_chip_keys(hsm, secret, chip_ids, *key.mac_key, rejected=rejected))
    finally:
        secret[:] = bytes(len(secret))


@dataclass(frozen=True)
class _Registering:
    """The calls that enter the chips."""

    config: Path
    chip_ids: tuple[str, ...]
    _: KW_ONLY
    locked: bool
    site: str
    key: BurnedKey
    by: str

    def prepare_if_asked(self, options: Approving) -> None:
        """Where administrators are asked, writes what they sign. Raises typer.Exit then."""
        from birthmark.v1 import admin_pb2
        from signerd.adapters.cli.connection import administration

        with administration(self.config) as daemon:
            if daemon.ShowAdministrators(admin_pb2.ShowAdministratorsRequest()).threshold:
                action = admin_pb2.PrepareApprovalRequest.Action
                prepare(daemon, options, [action(personalize_chips=each) for each in self._requests()])

    def register(self, options: Approving) -> int:
        """How many were new."""
        from signerd.adapters.cli.connection import administration

        with administration(self.config) as daemon:
            return sum(
                daemon.PersonalizeChips(options.on(request, part)).added
                for part, request in enumerate(self._requests())
            )

    def _requests(self) -> Iterator[admin_pb2.PersonalizeChipsRequest]:
        from birthmark.v1 import admin_pb2

        for batch in batches(list(self.chip_ids)):
            yield admin_pb2.PersonalizeChipsRequest(
                chip_ids=batch, locked=self.locked, site=self.site, key=self.key.value, by=self.by
            )


def _write_csv(out: Path, keys: Mapping[str, bytes]) -> None:
    from signerd.adapters.durable_files import fill

    rows = "".join(f"{chip_id},{key.hex()}\n" for chip_id, key in keys.items())
    fill(out, f"chip_id,key\n{rows}".encode("ascii"))
