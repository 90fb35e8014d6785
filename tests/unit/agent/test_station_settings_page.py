"""docs/stations.md lists every key of agent.toml and every option of a driver, with its default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from agent.adapters.drivers.esp32.options import Esp32Options
from agent.adapters.drivers.smp import SmpOptions
from agent.config import BundleFiles, Config, LabelPlace, Log, Page, Results, Signerd, Timeouts

PAGE = (Path(__file__).parents[3] / "docs" / "stations.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## agent.toml\n")[2].partition("\n## ")[0]
SECTIONS: Mapping[str, type[BaseModel]] = {
    "signerd": Signerd,
    "bundle": BundleFiles,
    "label": LabelPlace,
    "page": Page,
    "results": Results,
    "log": Log,
    "timeouts": Timeouts,
}


def options_shown() -> dict[str, str]:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", SECTION, re.MULTILINE)
    return {name: default.strip("` ") for name, default in rows}


def options_of(model: type[BaseModel]) -> dict[str, str]:
    shown = {}
    for name, field in model.model_fields.items():
        default = field.default
        shown[name] = (
            f'"{default}"' if isinstance(default, str) else f"{default:g}" if default != () else "none"
        )
    return shown


def keys_shown() -> set[str]:
    firsts = re.findall(r"^\| ((?:`[^`|]+`(?:, | )?)+) \|", SECTION, re.MULTILINE)
    return {key for first in firsts for key in re.findall(r"`([^`]+)`", first)}


def test_every_option_of_the_drivers_with_its_default() -> None:
    shown = options_shown()
    expected = options_of(SmpOptions) | options_of(Esp32Options)
    assert {name: shown.get(name) for name in expected} == expected


def test_the_board_protocols_options_are_the_same_for_both() -> None:
    esp32 = options_of(Esp32Options)
    assert {name: esp32[name] for name in SmpOptions.model_fields} == options_of(SmpOptions)


def test_every_key_and_section() -> None:
    shown = keys_shown()
    plain = set(Config.model_fields) - set(SECTIONS) - {"drivers", "places"}
    assert plain - shown == set()
    assert {f"[{name}]" for name in {*SECTIONS, "places"}} - shown == set()
    for model in SECTIONS.values():
        assert set(model.model_fields) - shown == set()
    assert {"[drivers.smp]", "[drivers.esp32]"} <= set(re.findall(r"`(\[drivers\.\w+\])`", SECTION))


def test_sections_are_all_of_the_model() -> None:
    own = {name for name, field in Config.model_fields.items() if _is_section(field.annotation)}
    assert own == set(SECTIONS)


def _is_section(annotation: object) -> bool:
    parts = getattr(annotation, "__args__", (annotation,))
    return any(isinstance(part, type) and issubclass(part, BaseModel) for part in parts)
