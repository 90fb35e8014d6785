"""What a trusted place needs to burn a chip's key with espefuse 5.x: a file for each key, and a sheet that
says how. For chips of the ESP32 family with an HMAC peripheral.

`burn-key` with purpose HMAC_UP closes the key block to reading and writing by itself. Secure boot v2 closes
the read protection bits: what is burned after it stays readable, so the key comes first.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from signerd.adapters.durable_files import write_many_new, write_new
from signerd.core.chip_list import ChipListError, check_macs
from signerd.errors import Code, Refused

HMAC_CHIPS = ("esp32s2", "esp32s3", "esp32c3", "esp32c6", "esp32h2", "esp32p4")
_WITHOUT_HMAC = ("esp32", "esp32c2")
KEY_BLOCKS = tuple(f"BLOCK_KEY{number}" for number in range(6))
SHEET = "BURN.txt"
_PURPOSE = "HMAC_UP"


def check_chip(chip: str) -> None:
    """Raises Refused `invalid` unless the chip has an HMAC peripheral that can hold a key."""
    if chip in _WITHOUT_HMAC:
        raise Refused(
            Code.INVALID,
            f"{chip} has no HMAC peripheral, so a key in its eFuses proves nothing. Unless it keeps a key"
            " elsewhere, its evidence stays at level none (docs/evidence.md)",
        )
    if chip not in HMAC_CHIPS:
        raise Refused(
            Code.INVALID, f"no chip {chip!r} with an HMAC peripheral; known: {', '.join(HMAC_CHIPS)}"
        )


def check_block(block: str) -> None:
    """Raises Refused `invalid` for what is no key block."""
    if block not in KEY_BLOCKS:
        raise Refused(Code.INVALID, f"no key block {block!r}: {KEY_BLOCKS[0]} to {KEY_BLOCKS[-1]}")


def check_chip_ids(file: Path, chip_ids: Sequence[str]) -> None:
    """Raises Refused `invalid` unless all are what these chips are known by: unicast MAC addresses."""
    try:
        check_macs(chip_ids)
    except ChipListError as error:
        raise Refused(Code.INVALID, f"{file}: {error}") from error


def key_file_name(chip_id: str) -> str:
    """The name of the chip's file. A chip id holds no slash, and the suffix makes "." and ".." names too."""
    return f"{chip_id}.key"


def burn_command(chip: str, block: str, chip_id: str) -> str:
    """What burns one chip's key, to be run in the folder of the files. PORT is the shell's."""
    # "./" for a chip id that begins with a hyphen.
    file = shlex.quote(f"./{key_file_name(chip_id)}")
    return f'espefuse --chip {chip} --port "$PORT" burn-key {block} {file} {_PURPOSE}'


def write_files(folder: Path, keys: Mapping[str, bytes], *, chip: str, block: str, locked: bool) -> None:
    """A key file for each chip, mode 0600, then the sheet: a folder without one was left by a crash.

    Raises:
        OSError: with the file's name.
    """
    write_many_new(folder, {key_file_name(chip_id): key for chip_id, key in keys.items()}, 0o600)
    sheet = "".join(_sheet(list(keys), chip=chip, block=block, locked=locked))
    write_new(folder / SHEET, sheet.encode(), 0o600)


# Step 5: a shell's *.key would leave out a chip whose id begins with a dot.
_HEAD = """\
{count} chips {chip}: keys for evidence hmac-sha256, to be burned into {block} with espefuse 5.x.

Whoever has these files can speak for these chips. eFuses are burned once: there is no way back.

For each chip, in this folder, with PORT set to its serial port (PORT=/dev/ttyUSB0):

1. Make sure that it is this chip: a key belongs to one chip id alone.
2. Burn its key with the command below. espefuse asks for the word BURN; it closes the block to reading and
   writing by itself.
3. Verify: espefuse --chip {chip} --port "$PORT" summary
   {purpose_field} must be {purpose} and R/-; {block} must be all question marks and -/-.
{lock}5. When all are done, destroy the keys and all copies: find . -name '*.key' -exec shred -u {{}} +
"""
_LOCKED = """\
4. Lock it: secure boot v2 with your signing key, flash encryption, debug closed. Not before step 3: secure
   boot closes the read protection bits, and a key that is burned later stays readable. These chips are
   registered as locked: one that is not locked must not leave this place.
"""
_NOT_LOCKED = """\
4. These chips are registered as not locked: evidence from them reaches level chip, and never key.
"""


def _sheet(chip_ids: list[str], *, chip: str, block: str, locked: bool) -> Iterator[str]:
    yield _HEAD.format(
        count=len(chip_ids),
        chip=chip,
        block=block,
        purpose=_PURPOSE,
        purpose_field=block.replace("BLOCK_KEY", "KEY_PURPOSE_"),
        lock=_LOCKED if locked else _NOT_LOCKED,
    )
    for chip_id in chip_ids:
        yield f"\n{chip_id}\n    {burn_command(chip, block, chip_id)}\n"
