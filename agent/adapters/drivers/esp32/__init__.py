"""Driver `esp32`: the ESP32 family by its ROM loader and by the board protocol (docs/esp32.md).

The worker's process is a module of this package too, one a port: it loads nothing of the driver, which
would double its memory and its start-up. So the driver is loaded when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.adapters.drivers.esp32.kind import DRIVER
    from agent.ports import DriverKind

__all__ = ["DRIVER"]


def __getattr__(name: str) -> DriverKind:
    if name != "DRIVER":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 (see above)

    try:
        version("esptool")  # the worker imports it, this program never
    except PackageNotFoundError as error:
        raise ImportError("esptool is not installed", name="esptool") from error
    from agent.adapters.drivers.esp32.kind import DRIVER as driver  # noqa: N811, PLC0415 (see above)

    return driver
