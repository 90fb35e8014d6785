"""Recipes: which steps a board takes, in which order, how long each may last, how often it is tried.

A recipe is a TOML file. Its steps are taken in the order in which they stand:

    name = "sensor"

    [[step]]
    name = "keygen"
    timeout_s = 60
    retries = 1
    key_type = "p256"

The order of steps is one table, `AFTER`. It lists the prerequisites of each step, with a reason.
`check_order` holds recipes to it, and `agent.core.course` holds every board to it while it is worked on.
Unknown keys are fatal and named. Steps that nothing may replace cannot be left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from agent.core.toml_text import TomlError, read_toml

MAX_RECIPE_BYTES = 32_768
MAX_TIMEOUT_S = 3_600.0
MAX_RETRIES = 10
KEY_TYPES = ("p256", "p384", "rsa2048", "rsa3072", "rsa4096")


class RecipeError(ValueError):
    """The recipe is wrong; the text says where and why."""


class StepName(StrEnum):
    """The steps, in the order in which a board takes them where its recipe says nothing else."""

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
    """The steps of a product, in their order.

    `key_type` lets keygen begin before signerd has said what it accepts. With `challenge` the board signs a
    trial stamp over a challenge of the station's own before it is sealed, and again at `verify`.
    """

    name: str
    steps: tuple[Step, ...]
    key_type: str | None = None
    challenge: bool = False

    def step(self, name: StepName) -> Step | None:
        """The step, or None if the recipe leaves it out."""
        return next((step for step in self.steps if step.name is name), None)

    @property
    def names(self) -> tuple[StepName, ...]:
        """The names of its steps, in order."""
        return tuple(step.name for step in self.steps)


# Why a step cannot be left out. The others may be: each has its check elsewhere (required locks, the stamp,
# the board's hello), or is nothing that the board's identity needs.
_INDISPENSABLE = {
    StepName.IDENTIFY: "nothing else tells which board is on the port",
    StepName.REQUEST: "sign needs the board's own request",
    StepName.SIGN: "without it there is no certificate",
    StepName.INSTALL: "a stamp speaks of the certificate that the board stored",
    StepName.CONFIGURE: "a stamp speaks of the settings that the board stored",
    StepName.STAMP: "signerd counts a board without a stamp as missing",
}
# What a step cannot do without, where it is not left out itself.
_INSEPARABLE = {
    StepName.FIRST_BOOT: (StepName.SEAL, "the first boot closes what seal has put in place"),
}

_S = StepName
_LOCKED = {
    _S.SEAL: "it looks at what the seal left",
    _S.FIRST_BOOT: "it looks at what the first boot left",
}
_TABLE: dict[StepName, dict[StepName, str]] = {
    _S.IDENTIFY: {},
    _S.FLASH: {_S.IDENTIFY: "nothing is written before it is known which board is there"},
    _S.KEYGEN: {
        _S.IDENTIFY: "key types come from the board's hello",
        _S.FLASH: "the firmware that flash brings makes the key",
    },
    _S.REQUEST: {
        _S.IDENTIFY: "the board is asked who it is first",
        _S.FLASH: "the firmware that flash brings makes the request",
        _S.KEYGEN: "a request is for a key",
    },
    _S.SIGN: {_S.REQUEST: "signerd signs what the request asks"},
    _S.INSTALL: {_S.SIGN: "there is no certificate before"},
    _S.CONFIGURE: {_S.SIGN: "the settings come with the certificate"},
    _S.SEAL: {
        _S.INSTALL: "a sealed board stores nothing more",
        _S.CONFIGURE: "a sealed board stores nothing more",
    },
    _S.FIRST_BOOT: {_S.SEAL: "the first boot closes what seal has put in place"},
    _S.VERIFY: {
        _S.INSTALL: "it compares the certificate that the board stored",
        _S.CONFIGURE: "it compares the settings that the board stored",
        **_LOCKED,
    },
    _S.STAMP: {
        _S.INSTALL: "the stamp speaks of the certificate that the board stored",
        _S.CONFIGURE: "the stamp speaks of the settings that the board stored",
        _S.SEAL: "the stamp says how the board leaves the line",
        _S.FIRST_BOOT: "the stamp says how the board leaves the line",
        _S.VERIFY: "a board that is not what it should be gets no stamp",
    },
    # Before or after the stamp. Before it, the board signs for its code over a challenge of the station's
    # own.
    _S.LABEL: {
        _S.INSTALL: "before, the board cannot sign for its code",
        _S.CONFIGURE: "before, the board cannot sign for its code",
        _S.SEAL: "a board that fails to lock itself gets no label",
        _S.FIRST_BOOT: "a board that fails to lock itself gets no label",
    },
}
AFTER: Mapping[StepName, Mapping[StepName, str]] = MappingProxyType(
    {name: MappingProxyType(earlier) for name, earlier in _TABLE.items()}
)
"""By step: the steps that stand before it wherever a recipe has both, each with the reason."""

_TIMEOUT_S = {
    StepName.IDENTIFY: 15.0,
    StepName.FLASH: 300.0,  # 8 MB over 460,800 baud take about three minutes
    StepName.KEYGEN: 180.0,  # an RSA 4096 key on a small chip takes minutes
    StepName.REQUEST: 30.0,
    StepName.SIGN: 30.0,
    StepName.INSTALL: 60.0,
    StepName.CONFIGURE: 60.0,
    StepName.SEAL: 30.0,
    StepName.FIRST_BOOT: 120.0,  # encrypting 4 MB in place takes a minute
    StepName.VERIFY: 15.0,
    StepName.STAMP: 30.0,
    StepName.LABEL: 30.0,
}
_USUAL_RETRIES = 2
# A printer that failed may have printed: a second label is only printed when somebody has looked.
_RETRIES = {StepName.LABEL: 0}


def default_recipe(steps: Collection[StepName]) -> Recipe:
    """These steps in their usual order, with bounds that suit a serial line of 115,200 baud."""
    return Recipe(
        "default",
        tuple(
            Step(name, seconds, _RETRIES.get(name, _USUAL_RETRIES))
            for name, seconds in _TIMEOUT_S.items()
            if name in steps
        ),
    )


def parse_recipe(data: bytes) -> Recipe:
    """Reads a recipe, UTF-8 TOML of at most 32,768 bytes.

    Raises:
        RecipeError: it is no recipe, or one that could not work.
    """
    if len(data) > MAX_RECIPE_BYTES:
        raise RecipeError(f"larger than {MAX_RECIPE_BYTES} bytes")
    try:
        document = read_toml(data)
    except TomlError as error:
        raise RecipeError(error.what) from error
    _only(document, {"name", "step"}, "")
    name = document.get("name")
    if not isinstance(name, str) or not name:
        raise RecipeError("name: must be a text in quotes")
    tables = document.get("step")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise RecipeError("step: must be [[step]] tables")
    steps = tuple(_step(table, number) for number, table in enumerate(tables, start=1))
    check_order([step.name for step in steps])
    return Recipe(name, steps, _key_type(tables), _challenge(tables))


# Keys that one step alone has.
_OWN_KEYS = {StepName.KEYGEN: "key_type", StepName.VERIFY: "challenge"}


def _step(table: dict[str, Any], number: int) -> Step:
    where = f"step {number}"
    try:
        name = StepName(table.get("name", ""))
    except ValueError as error:
        raise RecipeError(f"{where}: no step {table.get('name')!r}; use {', '.join(StepName)}") from error
    _only(table, {"name", "timeout_s", "retries", _OWN_KEYS.get(name, "name")}, f"{name}.")
    timeout_s = table.get("timeout_s", _TIMEOUT_S[name])
    if type(timeout_s) not in {int, float} or not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise RecipeError(f"{name}: timeout_s must be above 0 and at most {MAX_TIMEOUT_S:g}")
    retries = table.get("retries", _RETRIES.get(name, _USUAL_RETRIES))
    if type(retries) is not int or not 0 <= retries <= MAX_RETRIES:
        raise RecipeError(f"{name}: retries must be a whole number from 0 to {MAX_RETRIES}")
    return Step(name, float(timeout_s), retries)


def check_order(names: Sequence[StepName]) -> None:
    """Checks that no step is missing, appears twice, or stands before one that must come first.

    Raises:
        RecipeError: the text names the steps and the reason.
    """
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"{name}: appears twice")
    for name, reason in _INDISPENSABLE.items():
        if name not in names:
            raise RecipeError(f"{name}: cannot be left out: {reason}")
    for name, (needed, reason) in _INSEPARABLE.items():
        if name in names and needed not in names:
            raise RecipeError(f"{needed}: cannot be left out where {name} is not: {reason}")
    for position, name in enumerate(names):
        for earlier, reason in AFTER[name].items():
            if earlier in names[position:]:
                raise RecipeError(f"{name}: must stand after {earlier}: {reason}")


def _key_type(tables: list[dict[str, Any]]) -> str | None:
    for table in tables:
        key_type = table.get("key_type")
        if key_type is not None and key_type not in KEY_TYPES:
            raise RecipeError(f"keygen: no key type {key_type!r}; use {', '.join(KEY_TYPES)}")
        if key_type is not None:
            return str(key_type)
    return None


def _challenge(tables: list[dict[str, Any]]) -> bool:
    for table in tables:
        challenge = table.get("challenge", False)
        if type(challenge) is not bool:
            raise RecipeError("verify: challenge must be true or false")
        if challenge:
            return True
    return False


def _only(table: dict[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise RecipeError("; ".join(f"{where}{key}: no such key" for key in unknown))
