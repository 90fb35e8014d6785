"""Templates of labels: size, text and code of one product's label, a TOML file.

    width_mm = 50
    height_mm = 25
    dpi = 203
    lines = ["S/N {serial}", "Port {port}"]

    [code]
    kind = "esp-provisioning"
    name = "PROV_{chip_tail}"
    transport = "ble"

Unknown keys are fatal and named. A template that no board could use is refused here; one that is too small
for its own sample is refused where it is laid out. docs/stations.md, "Labels", lists all keys.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from agent.core.file_problems import in_one_line, problems
from agent.core.label import Label
from agent.core.label_pattern import POP, PORT, parse_pattern
from agent.core.label_payload import PatternText, ProvisioningCode, Strict, TextCode
from agent.core.toml_text import TomlError, read_toml

MAX_TEMPLATE_BYTES = 32_768
MIN_TEXT_MM = 1.2  # height of the font, about 3.4 pt: the least that a 203 dpi printer keeps readable
_LEAST_MODULES = 21  # QR version 1, ISO/IEC 18004:2015, 6.3.1
_MAX_LINES = 16


class TemplateError(ValueError):
    """The template is wrong; the text says where and why."""


class TemplateLine(Strict):
    """One line of text."""

    text: PatternText
    size_mm: Annotated[float, Field(ge=MIN_TEXT_MM, le=50)] | None = None  # none: the template's `text_mm`


class Sample(Strict):
    """Values for a sample: the longest that boards will have. The label is tried with them at each start."""

    serial: str = "BM-000123"
    chip_id: str = "7c:df:a1:00:01:23"
    model: str = "sensor"
    work_order: str = "WO-2026-001"
    port: str = "12"
    pop: Annotated[str, Field(pattern=r"^[!-~]{4,64}$")] = "K7QW-3XRM"


def _as_line(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


class LabelTemplate(Strict):
    """One product's label."""

    width_mm: Annotated[float, Field(ge=8, le=300)]
    height_mm: Annotated[float, Field(ge=8, le=300)]
    dpi: Annotated[int, Field(ge=150, le=1200)]  # of the printer
    margin_mm: Annotated[float, Field(ge=0.5, le=20)] = 1.5
    text_position: Literal["right", "below"] = "right"  # of the code
    text_mm: Annotated[float, Field(ge=MIN_TEXT_MM, le=50)] = 2.2
    font: Annotated[str, Field(min_length=1)] | None = (
        None  # a TrueType or OpenType file; none: Aileron, ASCII alone
    )
    lines: Annotated[
        tuple[Annotated[TemplateLine, BeforeValidator(_as_line)], ...],
        Field(min_length=1, max_length=_MAX_LINES, strict=False),
    ]
    code: Annotated[ProvisioningCode | TextCode, Field(discriminator="kind")]
    sample: Sample = Sample()

    @model_validator(mode="after")
    def _is_of_use(self) -> Self:
        named = frozenset[str]().union(*(parse_pattern(line.text).fields for line in self.lines))
        if PORT not in named:
            raise ValueError(
                "lines: none names {port}. Labels of several ports come out of one printer: only the port on "
                "the label keeps it from the wrong board"
            )
        if POP not in named and not self.code.carries_pop:
            raise ValueError("neither code nor lines have {pop}: nobody would ever learn the board's code")
        least = (_LEAST_MODULES + 2 * self.code.quiet_zone) * self.code.module_mm
        side = min(self.width_mm, self.height_mm)
        if side < least:
            raise ValueError(
                f"the smallest code there is needs {least:.1f} mm with its quiet zone, and the label's "
                f"shorter side has {side:g} mm: take a larger label"
            )
        return self

    def sample_label(self) -> Label:
        """A label with the sample's invented values."""
        sample = self.sample
        return Label(
            port=sample.port,
            serial_number=sample.serial,
            chip_id=sample.chip_id,
            model=sample.model,
            work_order=sample.work_order,
            code=sample.pop,
        )


def parse_template(data: bytes) -> LabelTemplate:
    """Reads a template, UTF-8 TOML of at most 32,768 bytes.

    Raises:
        TemplateError: it is no template, or one that no board could use. All that is wrong is named.
    """
    if len(data) > MAX_TEMPLATE_BYTES:
        raise TemplateError(f"larger than {MAX_TEMPLATE_BYTES} bytes")
    try:
        document = read_toml(data)
    except TomlError as error:
        raise TemplateError(error.what) from error
    try:
        return LabelTemplate.model_validate(document)
    except ValidationError as error:
        raise TemplateError(in_one_line(problems(error))) from error
