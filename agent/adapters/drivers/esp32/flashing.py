"""Bringing a chip's flash to a layout: what is compared, what is written, in which order.

Made for a chip that was looked at and not refused (`Esp32Driver`). A chip that holds a layout already costs
one MD5 a part of it; a blank one is written without a further look; of anything between only the blocks that
differ are written, whatever stood there before. esptool's `diff_with` needs the very files that were flashed
last and believes that they are there; MD5s by block ask the chip, and also go on where a power cut ended the
last try.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.adapters.drivers.esp32 import chip, plan
from agent.adapters.drivers.esp32.chip import ChipReport
from agent.adapters.drivers.esp32.images import BundleFacts
from agent.adapters.drivers.esp32.loader import Loader
from agent.adapters.drivers.esp32.plan import Piece, Region, Target
from agent.core.bundle import Role
from agent.errors import BoardError
from agent.ports import Firmware, Flashed, OnProgress


class Flashing:
    """One chip in its loader, and the bundle that it shall hold."""

    def __init__(self, loader: Loader, report: ChipReport, firmware: Firmware, facts: BundleFacts) -> None:
        self.report = report
        self._loader = loader
        self._firmware = firmware
        self._manifest = firmware.bundle.manifest
        self._contents = {name: image.content for name, image in facts.images.items()}
        self._partitions = facts.partitions

    async def manufacturing(self, on_progress: OnProgress | None) -> Flashed:
        """The layout of the manufacturing firmware. An application newer than the bundle's is refused."""
        targets = plan.manufacturing(self._manifest, self._contents, self._partitions)
        pieces = await self._compare(targets)
        await self._check_installed(pieces)
        return await self._write(targets, pieces, on_progress)

    async def mend(self, on_progress: OnProgress | None) -> Flashed:
        """The final layout on a chip whose first boot was cut: what is half encrypted is written again."""
        targets = self._final(mend=True)
        return await self._write(targets, await self._compare(targets), on_progress)

    async def seal(self, on_progress: OnProgress | None) -> None:
        """The final layout, where application and partition table stand already: `flash` put them there."""
        targets = self._final(mend=False)
        pieces = await self._compare(targets)
        damaged = {Role.APPLICATION, Role.PARTITION_TABLE}
        for image in self._manifest.images:
            if image.role in damaged and any(piece.target.name == image.name for piece in pieces):
                raise BoardError(
                    "image_differs",
                    f"image {image.name} does not stand in the flash any more",
                    remedy="Present the board again: it is flashed anew.",
                )
        await self._write(targets, pieces, on_progress)

    async def stands(self) -> bool:
        """True if the chip holds the final layout."""
        return not await self._compare(self._final(mend=False))

    def _final(self, *, mend: bool) -> tuple[Target, ...]:
        return plan.final(self._manifest, self._contents, self._partitions, mend=mend)

    async def _compare(self, targets: Sequence[Target]) -> list[Piece]:
        """What is to be written, in the targets' order. Three looks, each one question for all of them."""
        heads = dict(zip(targets, await self._loader.digests(plan.heads(targets)), strict=True))
        open_ones = [target for target in targets if not plan.is_settled(target, heads[target])]
        regions = [Region(target.offset, target.content.size) for target in open_ones]
        wholes = dict(zip(open_ones, await self._loader.digests(regions), strict=True))
        differing = [target for target in open_ones if wholes[target] != target.content.md5]
        answers = iter(await self._loader.digests([block for one in differing for block in plan.blocks(one)]))
        pieces: list[Piece] = []
        for target in targets:
            if target in differing:
                pieces += plan.differing(target, [next(answers) for _ in target.content.blocks])
            elif target not in wholes and heads[target] != target.content.head:
                pieces.append(plan.whole(target))
        return pieces

    async def _check_installed(self, pieces: Sequence[Piece]) -> None:
        application = self._manifest.image(Role.APPLICATION)
        if application is None or all(piece.target.name != application.name for piece in pieces):
            return
        head = await self._loader.read(application.offset, plan.DESCRIPTOR_HEAD)
        chip.check_installed(plan.installed_version(head), self._manifest)

    async def _write(
        self, targets: Sequence[Target], pieces: Sequence[Piece], on_progress: OnProgress | None
    ) -> Flashed:
        if self.report.mac is None:
            raise BoardError("chip_sealed", "the chip is in secure download mode")
        await self._loader.write(self.report.mac, pieces, self._firmware, on_progress)
        written = {piece.target.name for piece in pieces}
        return Flashed(
            tuple(target.name for target in targets if target.name in written),
            tuple(target.name for target in targets if target.name not in written),
        )
