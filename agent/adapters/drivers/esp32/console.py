"""A chip's console while it boots, read for progress and failure. Pure; any bytes, bounded memory and time.

The texts are those of ESP-IDF v4.4 to v5.5 (bootloader_support: bootloader_utility.c, flash_encrypt.c,
secure_boot_v2/secure_boot.c) and of the chips' ROMs. None of them is believed to mean success: that is what
the board's `hello` and the eFuses say.

    console = Console()
    console.feed(b"I (188) flash_encrypt: Generating new flash encryption key...\\r\\n")
    console.percent        # 30
    console.failure        # None, or the BoardError that ends the wait
"""

from __future__ import annotations

import re

from agent.errors import BoardError

_MAX_LINE = 512  # bytes kept of a line; the texts stand at its beginning
# Looked at of one boot, lines counted with what each costs: a first boot prints a tenth of it. A chip that
# floods the line would keep the station from its other boards; its hello and the deadline end the boot.
_MAX_LOOKED_AT = 524_288  # bytes
_LINE_COSTS = 64  # bytes
_MAX_RESETS = 8  # a first boot resets two or three times
_PATIENCE = 3  # times that a passing trouble is told: a reset amid a read, a weak supply at switching on
_QUOTED = 60  # characters of a console's line in a detail
_MOST_PERCENT = 99  # the rest is the firmware's answer

_PROGRESS = tuple(
    (re.compile(pattern), percent)
    for pattern, percent in (
        (rb"rst:0x", 2),
        (rb"boot: ESP-IDF", 4),
        (rb"secure_boot_v2: enabling secure boot v2", 10),
        (rb"[Ss]ecure boot permanently enabled", 20),
        (rb"Checking flash encryption", 25),
        (rb"Generating new flash encryption key", 30),
        (rb"bootloader encrypted successfully", 35),
        (rb"partition table encrypted", 40),
        (rb"Setting CRYPT_CNT|Flash encryption completed", 85),
        (rb"Resetting with flash encryption enabled", 88),
        (rb"flash encryption is enabled", 90),
        (rb"[Nn][Vv][Ss].{0,80}([Mm]igrat|[Ee]ncrypt)", 95),
    )
)
_PARTITION = re.compile(rb"flash_encrypt: (Encrypting partition|Done encrypting)")
_PARTITION_STEP, _PARTITIONS_END = (
    5,
    84,
)  # percent for each line; how many there are, the console does not say

_FAILURES = tuple(
    (re.compile(pattern), code)
    for pattern, code in (
        (rb"[Ss]ecure boot (signature )?verification failed", "boot_signature"),
        (rb"image valid, signature bad|Signature Check Failed|Sig block \d+ invalid", "boot_signature"),
        (rb"Secure boot key \(\d+\) verification failed", "boot_signature"),
        (rb"(Bootloader|Application) signature block is invalid", "boot_signature"),
        (rb"No valid (bootloader|applications) signature blocks? found", "boot_signature"),
        (rb"No application key digest matches the bootloader key digest", "boot_signature"),
        (rb"No valid pre-loaded public key digest in eFuse", "boot_signature"),
        (rb"Secure Boot v2 failed|secure boot v2 failed", "first_boot_failed"),
        (rb"refusing to boot", "first_boot_failed"),
        (rb"Error programming security eFuses|Failed to write efuse block", "first_boot_failed"),
        (rb"Not enough free efuse key blocks|more than available key slots", "first_boot_failed"),
        (rb"Invalid key state|Invalid efuse key blocks|Cannot re-encrypt data", "first_boot_failed"),
        (rb"Failed to encrypt|no valid bootloader was found|data - not plaintext", "first_boot_failed"),
        (rb"Flash encryption (check )?failed|Encryption flash contents failed", "first_boot_failed"),
        (rb"Initialization of Flash Encryption key failed", "first_boot_failed"),
        (rb"Bootloader is too large to fit Secure Boot V2", "first_boot_failed"),
        (rb"ESP_ERR_NVS_CORRUPT_KEY_PART", "nvs_keys_damaged"),
    )
)
_TROUBLES = tuple(
    (re.compile(pattern), code)
    for pattern, code in (
        (rb"invalid header: 0x|flash read err|csum err|ets_main\.c|Invalid image block", "no_boot"),
        (rb"No bootable app partitions|Failed to verify partition table", "no_boot"),
        (rb"Brownout detector was triggered", "brownout"),
        (rb"Guru Meditation Error|abort\(\) was called|assert failed:", "firmware_crashes"),
    )
)
_REMEDIES = {
    "boot_signature": "The bundle's images are not signed with the key that the chip is bound to.",
    "brownout": "The supply of the fixture is too weak or its contacts are worn.",
    "no_boot": "Present the board again; if it fails again its flash is at fault.",
    "nvs_keys_damaged": "Present the board again. If it fails again, put it aside.",
}
# No start may mend these: images of another key, and a supply under which no eFuse is to be burned. All else
# may be what a power cut left: the driver writes it again, or the chip goes on where it stood.
_LASTING = frozenset({"boot_signature", "brownout"})
_RESET = re.compile(rb"rst:0x[0-9a-f]{1,2}")
# What nothing but a chip of this family prints: its ROM at a reset, and ESP-IDF's log.
_CHIP = re.compile(rb"rst:0x[0-9a-f]|boot:0x[0-9a-f]|ESP-ROM:esp32|[EWIDV] \(\d{1,10}\) [A-Za-z_]")


class Console:
    """Reads one boot. `percent` never falls, and `failure` stays what it was first."""

    def __init__(self) -> None:
        self.percent = 0
        self.failure: BoardError | None = None
        self._line = bytearray()
        self._resets = 0
        self._looked_at = 0
        self._troubles: dict[str, int] = {}

    def feed(self, data: bytes) -> None:
        """Takes what the chip sent, cut anywhere."""
        first, *rest = re.split(rb"[\r\n]", data)
        self._append(first)
        for part in rest:
            self._take(bytes(self._line))
            self._line.clear()
            self._append(part)

    def _append(self, part: bytes) -> None:
        self._line += part[: _MAX_LINE - len(self._line)]

    def _take(self, line: bytes) -> None:
        if not line:
            return
        self._looked_at += len(line) + _LINE_COSTS
        if self._looked_at > _MAX_LOOKED_AT:
            return
        for pattern, percent in _PROGRESS:
            if pattern.search(line):
                self.percent = max(self.percent, min(percent, _MOST_PERCENT))
        if _PARTITION.search(line) and self.percent < _PARTITIONS_END:
            self.percent = min(self.percent + _PARTITION_STEP, _PARTITIONS_END)
        for pattern, code in _FAILURES:
            if pattern.search(line):
                self._fail(code, line)
        self._count(line)

    def _count(self, line: bytes) -> None:
        for pattern, code in _TROUBLES:
            if pattern.search(line):
                self._troubles[code] = self._troubles.get(code, 0) + 1
                if self._troubles[code] >= _PATIENCE:
                    self._fail(code, line)
        if _RESET.search(line):
            self._resets += 1
            if self._resets > _MAX_RESETS:
                self._fail("boot_loop", line)

    def _fail(self, code: str, line: bytes) -> None:
        if self.failure is None:
            text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in line[-120:])
            remedy = _REMEDIES.get(code, "Present the board again. If it fails again, put it aside.")
            self.failure = BoardError(
                code, f"the chip's console: {text}", remedy=remedy, retryable=code not in _LASTING
            )


class Heard:
    """What came on a line on which an answer was awaited: how much, and the last line of text."""

    def __init__(self) -> None:
        self.bytes = 0
        self.is_chip = False  # something came that nothing but a chip of this family prints
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """Takes what came."""
        self.bytes += len(data)
        seen = self._tail + data
        self.is_chip = self.is_chip or _CHIP.search(seen) is not None
        self._tail = seen[-_MAX_LINE:]

    def __str__(self) -> str:
        if not self.bytes:
            return "nothing came on this line"
        lines = [line for line in re.split(rb"[\r\n]+", self._tail) if line.strip()]
        last = "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in lines[-1]) if lines else ""
        return f"{self.bytes} bytes came on this line, the last are {last[-_QUOTED:]!r}"
