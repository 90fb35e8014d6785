"""What a station is made of, out of its settings: recipe, connection to signerd, firmware, labels, places.

What opens a station, and what checks one, take the same parts from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from cryptography import x509

from agent.adapters.bundle_files import open_firmware
from agent.adapters.drivers.registry import find_driver
from agent.adapters.enrolment.credentials import check_pair, parse_cas, parse_certificate, read_file
from agent.adapters.signer.client import GrpcSigner
from agent.adapters.signer.line_state import LineState
from agent.adapters.signer.seen_checkpoint import SeenCheckpoint
from agent.adapters.signer.tls_probe import diagnose
from agent.config import Config, Signerd
from agent.core.events import Progress
from agent.core.recipe import Recipe, RecipeError, StepName, default_recipe, parse_recipe
from agent.core.toml_remedy import toml_remedy
from agent.errors import ConfigError
from agent.ports import DriverKind, Firmware
from agent.program import program_version

if TYPE_CHECKING:
    from agent.adapters.labels.open import StationLabels

_DIAGNOSIS_S = 3.0  # for a look at the line that does not stand
_RECIPE_REMEDY = 'docs/stations.md, "Recipes", says what may stand where.'
_RECIPE_FILE = "Put the recipe there, or mend `recipe` in agent.toml. Without it the driver has its own."


def read_recipe(config: Config) -> Recipe:
    """The configured recipe, or the driver's own; one that this station can take. Raises ConfigError."""
    kind = find_driver(config.driver)
    recipe = _default_recipe(config, kind)
    where = f"the recipe of driver {config.driver}"
    if config.recipe is not None:
        where = str(config.recipe)
        recipe = _parsed(where, read_file(config.recipe, _RECIPE_FILE))
    _check_recipe(config, kind, recipe, where)
    return recipe


def _default_recipe(config: Config, kind: DriverKind) -> Recipe:
    """The driver's own recipe, without a step for labels where the station has none."""
    recipe = default_recipe(kind.steps)
    if kind.default_recipe is not None:
        recipe = _parsed(f"the recipe of driver {config.driver}", kind.default_recipe)
    if config.label is None:
        return replace(recipe, steps=tuple(step for step in recipe.steps if step.name is not StepName.LABEL))
    return recipe


def _parsed(where: str, data: bytes) -> Recipe:
    try:
        return parse_recipe(data)
    except RecipeError as error:
        raise ConfigError(f"{where}: {error}", remedy=toml_remedy(error, _RECIPE_REMEDY)) from error


def _check_recipe(config: Config, kind: DriverKind, recipe: Recipe, where: str) -> None:
    for name in recipe.names:
        if name not in kind.steps:
            detail = f"{where}: step {name}: driver {config.driver} has no such step"
            raise ConfigError(
                detail, remedy="Take the step out of the recipe, or set the product's `driver`."
            )
    if StepName.FLASH in recipe.names and config.bundle is None:
        detail = f"{where}: step {StepName.FLASH}: no [bundle] is configured"
        raise ConfigError(detail, remedy="Name the product's bundle and its key in agent.toml: [bundle].")
    if StepName.LABEL in recipe.names and config.label is None:
        detail = f"{where}: step {StepName.LABEL}: no [label] is configured"
        raise ConfigError(detail, remedy="Say in agent.toml where labels go: [label].")
    if config.bundle is not None and kind.check_firmware is None:
        detail = f"[bundle] is configured, and driver {config.driver} takes none"
        raise ConfigError(detail, remedy="Take [bundle] out of agent.toml, or set the product's `driver`.")


def operations_cas(wanted: Signerd) -> list[x509.Certificate]:
    """Who may certify signerd, and sign a successor of its log. Raises ConfigError."""
    return parse_cas(read_file(wanted.operations_ca), str(wanted.operations_ca))


def signer_of(
    config: Config, progress: Progress | None = None, seen: SeenCheckpoint | None = None
) -> GrpcSigner:
    """The connection to signerd, not open yet. `progress` is told why it is down, and when it is up again;
    `seen` keeps the newest checkpoint of its receipts.

    Raises ConfigError: a wrong file would look like a dead line.
    """
    wanted = config.signerd
    operations_ca, certificate = read_file(wanted.operations_ca), read_file(wanted.certificate)
    key = read_file(wanted.key)
    parse_cas(operations_ca, str(wanted.operations_ca))
    check_pair(parse_certificate(certificate, str(wanted.certificate)), key)
    line = None
    if progress is not None:
        line = LineState(progress, partial(diagnose, wanted, timeout_s=_DIAGNOSIS_S))
    return GrpcSigner(
        wanted.address,
        operations_ca=operations_ca,
        certificate=certificate,
        key=key,
        deadline_s=config.timeouts.call_s,
        version=program_version(),
        clock_bound=timedelta(seconds=config.clock_bound_s),
        line=line,
        seen=seen,
    )


def labels_of(config: Config) -> StationLabels | None:
    """What `[label]` names, its template tried. Raises ConfigError."""
    if config.label is None:
        return None
    from agent.adapters.labels.open import open_labels  # noqa: PLC0415 -- what draws labels is of no use to others

    return open_labels(config.label)


def places_of(config: Config) -> Mapping[str, str]:
    """What ports are called. Raises ConfigError: two of one name would be one in tables and on labels.

    Nor may one be called by the name of another: the other could lose its place, or be shown without it.
    """
    shown = list(config.places.values())
    twice = sorted({place for place in shown if shown.count(place) > 1})
    if twice:
        raise ConfigError(
            f"places: {', '.join(twice)} is given twice", remedy="Give each port its own place."
        )
    names = sorted(place for name, place in config.places.items() if place != name and place in config.places)
    if names:
        detail = f"places: {', '.join(names)} is the name of another port"
        raise ConfigError(detail, remedy="Call each port by where it is, and by no port's name.")
    return config.places


async def firmware_of(config: Config) -> Firmware | None:
    """The bundle, verified with the company's key and by the driver, as files. Raises ConfigError."""
    check_firmware = find_driver(config.driver).check_firmware
    if config.bundle is None or check_firmware is None:
        return None
    firmware = await asyncio.to_thread(open_firmware, config.bundle, config.state)
    await check_firmware(firmware)
    return firmware
