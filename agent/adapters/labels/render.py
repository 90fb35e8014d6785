"""One label, drawn in the forms that are asked for.

Raises `LabelError` for a label that cannot be made. What caused it is not chained: the texts of libraries may
hold what was to be drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agent.adapters.labels.font import LabelFont
from agent.adapters.labels.layout import DoesNotFitError, Layout, lay_out
from agent.adapters.labels.raster import as_pdf, as_png
from agent.adapters.labels.svg import as_svg
from agent.adapters.labels.zpl import as_zpl
from agent.core.label import Label
from agent.core.label_pattern import LabelContentError
from agent.core.label_template import MAX_TEMPLATE_BYTES, LabelTemplate, TemplateError, parse_template
from agent.core.toml_remedy import toml_remedy
from agent.errors import ConfigError, LabelError

FORMATS: Mapping[str, Callable[[Layout], bytes]] = {
    "png": as_png,
    "svg": as_svg,
    "pdf": as_pdf,
    "zpl": as_zpl,
}
_TEMPLATE = 'Mend the template; docs/stations.md, "Labels", tells what may stand in it.'


class LabelMaker:
    """A template with its font, tried with its own sample."""

    def __init__(self, template: LabelTemplate, font: LabelFont) -> None:
        """Raises ConfigError where not even the sample can be made."""
        self.template = template
        self._font = font
        try:
            self.make(template.sample_label(), tuple(FORMATS))
        except LabelError as error:
            raise ConfigError(
                f"the label's template does not hold its own sample: {error.detail}", remedy=_TEMPLATE
            ) from error

    def make(self, label: Label, formats: Sequence[str]) -> dict[str, bytes]:
        """The label by format. Raises LabelError."""
        layout = self.lay_out(label)
        return {name: FORMATS[name](layout) for name in formats}

    def try_port(self, port: str) -> None:
        """Raises LabelError where the sample does not fit with the name of this port."""
        try:
            self.lay_out(replace(self.template.sample_label(), port=port))
        except LabelError as error:
            detail = f"with the port's name {port}: {error.detail}"
            remedy = "Give the port a short name under [places] in agent.toml, or mend the template."
            raise LabelError(error.code, detail, remedy=remedy) from None

    def lay_out(self, label: Label) -> Layout:
        """Where everything stands on the label. Raises LabelError."""
        try:
            return lay_out(self.template, label, self._font)
        except DoesNotFitError as error:
            raise LabelError("label_too_small", str(error), remedy=_TEMPLATE) from None
        except LabelContentError as error:
            raise LabelError("label_content", str(error), remedy=_TEMPLATE) from None


def open_maker(path: Path) -> LabelMaker:
    """Reads a template and what it names. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEMPLATE_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read the label's template {path}: {error.strerror}",
            remedy="deploy/examples/label.toml is one to begin with.",
        ) from error
    try:
        template = parse_template(data)
    except TemplateError as error:
        raise ConfigError(f"{path}: {error}", remedy=toml_remedy(error, _TEMPLATE)) from error
    return LabelMaker(template, LabelFont(None if template.font is None else path.parent / template.font))
