"""The labels of a station: made from its template, left in its folder, printed by its printer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from agent.adapters.labels.folder import LabelFolder
from agent.adapters.labels.printer import LabelPrinter, open_printer
from agent.adapters.labels.render import FORMATS, LabelMaker, open_maker
from agent.config import LabelPlace
from agent.core.label import Label
from agent.errors import ConfigError

_PRINTED = "zpl"


class StationLabels:
    """See `agent.ports.Labels`. Safe for many ports at once."""

    def __init__(
        self,
        maker: LabelMaker,
        *,
        printer: LabelPrinter | None,
        folder: LabelFolder | None,
        formats: tuple[str, ...],
    ) -> None:
        self._maker = maker
        self._printer = printer
        self._folder = folder
        self._formats = formats

    async def put(self, label: Label) -> None:
        """See `Labels`. The folder comes first: leaving a file twice harms nobody, printing twice may."""
        wanted = self._formats if self._folder is not None else ()
        formats = dict.fromkeys((*wanted, *([_PRINTED] if self._printer is not None else [])))
        made = await asyncio.to_thread(self._maker.make, label, tuple(formats))
        if self._folder is not None:
            await self._folder.put(label, {name: made[name] for name in wanted})
        if self._printer is not None:
            await self._printer.put(made[_PRINTED])

    async def check(self, ports: Sequence[str] = ()) -> None:
        """Raises LabelError where no label could be put now, or none with a port's name; prints nothing."""
        for port in ports:
            await asyncio.to_thread(self._maker.try_port, port)
        if self._folder is not None:
            await self._folder.check()
        if self._printer is not None:
            await self._printer.check()


def open_labels(place: LabelPlace) -> StationLabels:
    """Opens what `[label]` names, and tries the template with its sample. Raises ConfigError."""
    if place.printer is None and place.folder is None:
        raise ConfigError("label: neither printer nor folder is named", remedy="Name one of them, or both.")
    if place.folder is not None and not place.formats:
        raise ConfigError("label.formats is empty", remedy=f"Name some of {', '.join(FORMATS)}.")
    maker = open_maker(place.template)
    return StationLabels(
        maker,
        printer=None if place.printer is None else open_printer(place.printer, status=place.status),
        folder=None if place.folder is None else LabelFolder(place.folder),
        formats=place.formats,
    )
