"""The table `[drivers.esp32]` of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.core.file_problems import in_one_line, problems
from agent.errors import ConfigError

_Baudrate = Annotated[int, Field(ge=1200, le=12_000_000)]
_Seconds = Annotated[float, Field(gt=0, le=3600)]
_REMEDY = "Mend [drivers.esp32] in agent.toml; docs/stations.md lists the options."


class Esp32Options(BaseModel):
    """How a station reaches the chips on its ports. Defaults suit a USB bridge with DTR and RTS wired."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    baudrate: _Baudrate = 115_200  # of the console, on which firmware speaks the board protocol
    flash_baudrate: _Baudrate = 921_600  # of the stub, once it runs
    before: Literal["default-reset", "usb-reset"] = "default-reset"  # how esptool enters download mode
    after: Literal["hard-reset", "watchdog-reset"] = "hard-reset"  # how esptool starts the firmware
    # Resets the chip instead of DTR and RTS, for fixtures with relays: a program and its arguments, run with
    # BIRTHMARK_PORT and BIRTHMARK_RESET=run|download.
    reset_command: tuple[str, ...] = ()
    reset_command_timeout_s: _Seconds = 10.0
    connect_attempts: Annotated[int, Field(ge=1, le=20)] = 3  # to reach the ROM; each takes about 1 s
    connect_timeout_s: _Seconds = 30.0
    command_timeout_s: _Seconds = 60.0  # each look at flash or eFuses
    write_timeout_s: _Seconds = 600.0  # all images of one step
    boot_timeout_s: _Seconds = 10.0  # from a reset until firmware answers
    first_boot_timeout_s: _Seconds = 120.0  # until the application has locked the chip
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 2.5  # an answer of the firmware, which has 2 s
    failures: Annotated[int, Field(ge=0, le=100)] = 6  # lost answers that one step survives
    transfer_timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0
    keygen_timeout_s: _Seconds = 180.0

    def smp(self) -> dict[str, object]:
        """The options of the SMP driver that speaks with the firmware."""
        return {
            "baudrate": self.baudrate,
            "timeout_s": self.timeout_s,
            "failures": self.failures,
            "transfer_timeout_s": self.transfer_timeout_s,
            "keygen_timeout_s": self.keygen_timeout_s,
        }


def parse_options(table: Mapping[str, object]) -> Esp32Options:
    """Checks the table.

    Raises:
        ConfigError: a key is unknown or its value is wrong; it is named.
    """
    try:
        return Esp32Options.model_validate(dict(table))
    except ValidationError as error:
        raise ConfigError(
            in_one_line([f"drivers.esp32.{said}" for said in problems(error)]), remedy=_REMEDY
        ) from error
