"""`label sample` and `label test`: a label with invented data, to see it and to try the printer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agent.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, print_result
from agent.config import load
from agent.errors import ConfigError

label_app = typer.Typer(help="The product's label: see it, and try the printer.", no_args_is_help=True)


@label_app.command()
def sample(
    template: Annotated[Path, typer.Option(help="The label's template.")],
    out: Annotated[Path, typer.Option(help="The folder for the sample, in every format.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Draws the template's sample, which has invented data."""
    from agent.adapters.labels.folder import LabelFolder  # noqa: PLC0415 -- Pillow, which no other command needs
    from agent.adapters.labels.render import FORMATS, open_maker  # noqa: PLC0415

    maker = open_maker(template)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make {out}: {error.strerror}", remedy="Name another folder.") from error
    label = maker.template.sample_label()
    asyncio.run(LabelFolder(out).put(label, maker.make(label, tuple(FORMATS))))
    layout, design = maker.lay_out(label), maker.template
    modules, payload = len(layout.matrix), design.code.payload(label)
    print_result(
        f"{design.width_mm:g} x {design.height_mm:g} mm at {design.dpi} dpi; the code has {modules} modules"
        f" a side, {layout.module_mm:.2f} mm each, and says:\n  {payload}\nLook at it in {out}.",
        {"out": str(out), "modules": modules, "module_mm": round(layout.module_mm, 3), "payload": payload},
        as_json=as_json,
    )


@label_app.command(name="test")
def print_sample(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Sends the sample to where the station's labels go."""
    from agent.adapters.labels import open_labels  # noqa: PLC0415 -- as above
    from agent.adapters.labels.render import open_maker  # noqa: PLC0415

    wanted = load(config).label
    if wanted is None:
        raise ConfigError(
            "no [label] in agent.toml", remedy='docs/stations.md, "Labels", tells what it needs.'
        )
    label = open_maker(wanted.template).template.sample_label()
    asyncio.run(open_labels(wanted).put(label))
    places = [str(place) for place in (wanted.folder, wanted.printer) if place is not None]
    said = f"A label with invented data went to {' and '.join(places)}. Throw it away."
    print_result(said, {"places": places}, as_json=as_json)
