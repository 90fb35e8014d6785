"""What a chip prints while it starts: the ROM's lines and ESP-IDF v5's log."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence

from boards.esp32.partitions import FACTORY, OTA_0, Partition

_ROMS = {
    "esp32": "ets Jul 29 2019 12:21:46\r\n",
    "esp32s2": "ESP-ROM:esp32s2-rc4-20191025\r\nBuild:Oct 25 2019",
    "esp32s3": "ESP-ROM:esp32s3-20210327\r\nBuild:Mar 27 2021",
    "esp32c3": "ESP-ROM:esp32c3-api1-20210207\r\nBuild:Feb  7 2021",
    "esp32c6": "ESP-ROM:esp32c6-20220919\r\nBuild:Sep 19 2022",
    "esp32h2": "ESP-ROM:esp32h2-20221101\r\nBuild:Nov  1 2022",
    "esp32p4": "ESP-ROM:esp32p4-eco2-20240710\r\nBuild:Jul 10 2024",
}


class Console:
    """Writes lines to the UART; `log` as ESP-IDF's with milliseconds since the start."""

    def __init__(
        self,
        chip: str,
        send: Callable[[bytes], None],
        now: Callable[[], float],
        printed: MutableSequence[str],
    ) -> None:
        self._chip = chip
        self._printed = printed
        self._send = send
        self._now = now
        self._started = now()

    def line(self, text: str = "") -> None:
        self._printed.append(text)
        self._send(text.encode() + b"\r\n")

    def log(self, level: str, tag: str, text: str) -> None:
        """`level` is I, W or E."""
        self.line(f"{level} ({round((self._now() - self._started) * 1000)}) {tag}: {text}")

    def info(self, tag: str, text: str) -> None:
        self.log("I", tag, text)

    def warning(self, tag: str, text: str) -> None:
        self.log("W", tag, text)

    def error(self, tag: str, text: str) -> None:
        self.log("E", tag, text)

    def banner(self, code: int, reason: str) -> None:
        """The ROM's first lines."""
        self._started = self._now()
        straps = "0x13" if self._chip == "esp32" else "0x8"
        self.line(_ROMS[self._chip])
        self.line(f"rst:0x{code:x} ({reason}),boot:{straps} (SPI_FAST_FLASH_BOOT)")

    def partition_table(self, partitions: tuple[Partition, ...]) -> None:
        """As the bootloader lists it."""
        self.info("boot", "Partition Table:")
        self.info("boot", "## Label            Usage          Type ST Offset   Length")
        for number, part in enumerate(partitions):
            self.info(
                "boot",
                f"{number:2d} {part.name:<16} {_usage(part):<16} {part.type:02x} {part.subtype:02x} "
                f"{part.offset:08x} {part.size:08x}",
            )
        self.info("boot", "End of partition table")


def _usage(part: Partition) -> str:
    if part.is_app:
        return {FACTORY: "factory app", OTA_0: "OTA app"}.get(part.subtype, "Unknown app")
    return {0: "OTA data", 1: "RF data", 2: "WiFi data", 4: "NVS keys"}.get(part.subtype, "Unknown data")
