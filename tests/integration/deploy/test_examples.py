"""The files under deploy/examples are what the programs read."""

from __future__ import annotations

import tomllib
from pathlib import Path

from agent import config as agent_config
from agent.core.recipe import StepName, parse_recipe
from auditor import config as auditor_config
from signerd import config
from signerd.core.order_file import ProductRevision, parse_order_file
from signerd.core.product import parse_product

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"


def text_of(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


def test_signerds_configuration() -> None:
    loaded = config.load(EXAMPLES / "signerd.toml")
    assert loaded.deployment == "example"
    assert loaded.server.key == EXAMPLES / "operations" / "server.key"


def test_its_second_place_lies_elsewhere_than_its_database() -> None:
    loaded = config.load(EXAMPLES / "signerd.toml")
    database = Path(config.database_url(loaded, EXAMPLES).removeprefix("sqlite:///"))
    assert database.parent not in loaded.ledger.head.parents


def test_product() -> None:
    assert parse_product(text_of("product.toml")).name == "sensor"


def test_order_is_for_the_product() -> None:
    order = parse_order_file(text_of("order.toml"), find)
    assert (order.work_order, order.product, order.quantity) == ("WO-2026-001", "sensor", 1000)


def find(name: str) -> ProductRevision | None:
    product = parse_product(text_of("product.toml"))
    return ProductRevision(product, bytes(32)) if name == product.name else None


def test_recipe_has_every_step() -> None:
    recipe = parse_recipe((EXAMPLES / "recipe.toml").read_bytes())
    assert [step.name for step in recipe.steps] == list(StepName)


def test_order_names_a_station_of_the_deployment() -> None:
    deployment = tomllib.loads(text_of("signerd.toml"))["deployment"]
    (station,) = tomllib.loads(text_of("order.toml"))["stations"]
    assert station.startswith(f"birthmark://{deployment}/station/")


def test_agents_configuration() -> None:
    loaded = agent_config.load(EXAMPLES / "agent.toml")
    assert loaded.recipe == EXAMPLES / "recipe.toml"
    assert loaded.driver in loaded.drivers


def test_auditors_configuration() -> None:
    loaded = auditor_config.load(EXAMPLES / "auditor.toml")
    assert loaded.trust.log_vkey == EXAMPLES / "log.vkey"


def test_all_are_of_one_deployment() -> None:
    named = [tomllib.loads(text_of(f"{name}.toml"))["deployment"] for name in ("signerd", "agent", "auditor")]
    assert named == ["example"] * 3
