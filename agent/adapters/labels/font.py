"""The font of a label: what a text measures, and whether it can be written at all.

A character without a glyph would come out as an empty box, and two ports might look alike: it is refused.
"""

from __future__ import annotations

from pathlib import Path

from PIL import ImageFont

from agent.core.label_pattern import LabelContentError
from agent.errors import ConfigError

_NO_CHARACTER = (
    "\uffff"  # a noncharacter (Unicode, 23.7): what a font draws for it, it draws for all it lacks
)
_PROBE_DOTS = 40.0
FAMILY = "Aileron, Helvetica, Arial, sans-serif"


class LabelFont:
    """One font at any size."""

    def __init__(self, file: Path | None = None) -> None:
        """None: the Aileron that Pillow brings. Raises ConfigError where the file is no font."""
        self._file = file
        try:
            probe = self.at(_PROBE_DOTS)
        except OSError as error:
            raise ConfigError(
                f"{file} is no font that can be read",
                remedy="Name a TrueType or OpenType file as the label's font.",
            ) from error
        self.family = FAMILY if file is None else f"{probe.getname()[0]}, {FAMILY}"
        self.is_default = file is None
        self._lacking = _picture(probe, _NO_CHARACTER)
        self._probe = probe

    def at(self, dots: float) -> ImageFont.FreeTypeFont:
        """The font with a height of so many dots."""
        if self._file is not None:
            return ImageFont.truetype(self._file, dots)
        font = ImageFont.load_default(dots)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise ConfigError("Pillow was built without FreeType", remedy="Install Pillow from its wheels.")
        return font

    def check(self, text: str) -> None:
        """Raises LabelContentError if a character of the text has no glyph."""
        for character in text:
            if _picture(self._probe, character) == self._lacking:
                raise LabelContentError(
                    "the label's font lacks a character that this label needs; "
                    "name a font that has it in the template"
                )


def _picture(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)
