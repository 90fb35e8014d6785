"""Recipes: which steps a board takes, how long each may last, how often it is tried.

A recipe is a TOML file. Steps stand in the order in which they are taken; there is one order, and a
recipe leaves steps out of it or bounds them:

    name = "sensor"

    [[step]]
    name = "keygen"
    timeout_s = 60
    retries = 1
    key_type = "p256"

Unknown keys are fatal and named. Steps that nothing may replace cannot be left out.
"""

from __future__ import annotations

import itertools
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_RECIPE_BYTES = 32_768
MAX_TIMEOUT_S = 3_600.0
MAX_RETRIES = 10
KEY_TYPES = ("p256", "p384", "rsa2048", "rsa3072", "rsa4096")


class RecipeError(ValueError):
    """The recipe is wrong; the text says where and why."""


class StepName(StrEnum):
    """The steps, in the order in which a board takes them."""

    IDENTIFY = "identify"
    FLASH = "flash"
    KEYGEN = "keygen"
    REQUEST = "request"
    SIGN = "sign"
    INSTALL = "install"
    CONFIGURE = "configure"
    SEAL = "seal"
    FIRST_BOOT = "first-boot"
    VERIFY = "verify"
    STAMP = "stamp"
    LABEL = "label"


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `timeout_s` bounds each try; `retries` are tries after the first."""

    name: StepName
    timeout_s: float
    retries: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """The steps of a product. `key_type` lets keygen begin before signerd has said what it accepts."""

    name: str
    steps: tuple[Step, ...]
    key_type: str | None = None

    def step(self, name: StepName) -> Step | None:
        """The step, or None if the recipe leaves it out."""
        return next((step for step in self.steps if step.name is name), None)


# Why a step cannot be left out. Seal and verify may be, and keygen on boards that were given time to make
# their key before: each of those has its check elsewhere (required locks, the stamp, the board's hello).
_INDISPENSABLE = {
    StepName.IDENTIFY: "nothing else tells which board is on the port",
    StepName.REQUEST: "sign needs the board's own request",
    StepName.SIGN: "without it there is no certificate",
    StepName.INSTALL: "a stamp speaks of the certificate that the board stored",
    StepName.CONFIGURE: "a stamp speaks of the settings that the board stored",
    StepName.STAMP: "signerd counts a board without a stamp as missing",
}
# Why a step that stands too early is wrong.
_TOO_EARLY = {
    StepName.KEYGEN: "key types come from the board's hello",
    StepName.REQUEST: "a request is for a key",
    StepName.SIGN: "signerd signs what the request asks",
    StepName.INSTALL: "there is no certificate before",
    StepName.CONFIGURE: "the certificate goes first",
    StepName.SEAL: "a sealed board stores nothing more",
    StepName.VERIFY: "it looks at what the seal left",
    StepName.STAMP: "the stamp comes last: it says how the board leaves the line",
}
_TIMEOUT_S = {
    StepName.IDENTIFY: 15.0,
    StepName.KEYGEN: 180.0,  # an RSA 4096 key on a small chip takes minutes
    StepName.REQUEST: 30.0,
    StepName.SIGN: 30.0,
    StepName.INSTALL: 60.0,
    StepName.CONFIGURE: 60.0,
    StepName.SEAL: 30.0,
    StepName.VERIFY: 15.0,
    StepName.STAMP: 30.0,
}
_DEFAULT_RETRIES = 2
_POSITION = {name: position for position, name in enumerate(StepName)}


def default_recipe() -> Recipe:
    """Every step, with bounds that suit a serial line of 115,200 baud."""
    return Recipe(
        "default", tuple(Step(name, seconds, _DEFAULT_RETRIES) for name, seconds in _TIMEOUT_S.items())
    )


def parse_recipe(data: bytes) -> Recipe:
    """Reads a recipe, UTF-8 TOML of at most 32,768 bytes.

    Raises:
        RecipeError: it is no recipe, or one that could not work.
    """
    if len(data) > MAX_RECIPE_BYTES:
        raise RecipeError(f"larger than {MAX_RECIPE_BYTES} bytes")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(f"not valid TOML: {error}") from error
    _only(document, {"name", "step"}, "recipe")
    name = document.get("name")
    if not isinstance(name, str) or not name:
        raise RecipeError("name: must be a text")
    tables = document.get("step")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise RecipeError("step: must be [[step]] tables")
    steps = tuple(_step(table, number) for number, table in enumerate(tables, start=1))
    _check_order(steps)
    return Recipe(name, steps, _key_type(tables))


def _step(table: dict[str, Any], number: int) -> Step:
    where = f"step {number}"
    try:
        name = StepName(table.get("name", ""))
    except ValueError as error:
        raise RecipeError(f"{where}: no step {table.get('name')!r}; use {', '.join(StepName)}") from error
    known = {"name", "timeout_s", "retries"}
    _only(table, known | {"key_type"} if name is StepName.KEYGEN else known, name)
    timeout_s = table.get("timeout_s", _TIMEOUT_S[name])
    if type(timeout_s) not in {int, float} or not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise RecipeError(f"{name}: timeout_s must be above 0 and at most {MAX_TIMEOUT_S:g}")
    retries = table.get("retries", _DEFAULT_RETRIES)
    if type(retries) is not int or not 0 <= retries <= MAX_RETRIES:
        raise RecipeError(f"{name}: retries must be a whole number from 0 to {MAX_RETRIES}")
    return Step(name, float(timeout_s), retries)


def _check_order(steps: tuple[Step, ...]) -> None:
    names = [step.name for step in steps]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"{name}: stands twice")
    for name, reason in _INDISPENSABLE.items():
        if name not in names:
            raise RecipeError(f"{name}: cannot be left out: {reason}")
    for early, late in itertools.pairwise(names):
        if _POSITION[late] < _POSITION[early]:
            raise RecipeError(f"{early}: must stand after {late}: {_TOO_EARLY[early]}")


def _key_type(tables: list[dict[str, Any]]) -> str | None:
    for table in tables:
        key_type = table.get("key_type")
        if key_type is not None and key_type not in KEY_TYPES:
            raise RecipeError(f"keygen: no key type {key_type!r}; use {', '.join(KEY_TYPES)}")
        if key_type is not None:
            return str(key_type)
    return None


def _only(table: dict[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise RecipeError(f"{where}: unknown key {', '.join(unknown)}")
