"""The files under deploy/examples are what the programs read."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent import config as agent_config
from agent.adapters.drivers.esp32.options import Esp32Options, parse_options
from agent.adapters.drivers.esp32.recipe import DEFAULT_RECIPE
from agent.core.recipe import StepName, parse_recipe
from auditor import config as auditor_config
from harness.software_key_holder import make_device_tree
from signerd import config
from signerd.adapters import device_ca
from signerd.core.evidence import METHODS
from signerd.core.order_file import ProductRevision, parse_order_file
from signerd.core.product import parse_product
from signerd.core.product_trust import review_trust
from signerd.core.profile import Issuer
from signerd.core.rehearsal import rehearse

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"
DOCS = EXAMPLES.parents[1] / "docs"
NOW = datetime(2026, 11, 15, tzinfo=UTC)


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


def test_a_product_that_leaves_the_line_locked() -> None:
    locked, plain = (parse_product(text_of(name)) for name in ("product-esp32.toml", "product.toml"))
    assert set(locked.stamp.required_locks) == {"secure_boot", "flash_encryption", "debug_closed"}
    assert (locked.name, locked.evidence) == (plain.name, plain.evidence)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "hmac-sha256"])
def test_a_product_of_each_method(method: str) -> None:
    evidence = parse_product(text_of(f"product-{method}.toml")).evidence
    assert evidence.methods == (method,)
    assert review_trust(evidence, NOW) == []


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


PRINTED = {page.name: blocks(page) for page in sorted(DOCS.rglob("*.md")) if blocks(page)}


def test_pages_that_print_toml() -> None:
    """Each has a test below."""
    counted = {page: len(printed) for page, printed in PRINTED.items()}
    assert counted == {"approvals.md": 1, "formats.md": 2, "esp32.md": 2, "key-holder.md": 1}


def test_the_line_that_asks_administrators(tmp_path: Path) -> None:
    (printed,) = PRINTED["approvals.md"]
    file = tmp_path / "signerd.toml"
    file.write_text(printed + text_of("signerd.toml"), "utf-8")
    approvals = config.load(file).approvals
    assert approvals is not None
    assert (approvals.threshold, approvals.administrators) == (2, tmp_path / "administrators")


def test_the_shares_of_an_order() -> None:
    (printed,) = PRINTED["key-holder.md"]
    product, file = PRINTED["formats.md"]
    revision = ProductRevision(parse_product(product), bytes(32))
    assert f"\n# {printed.strip()} #" in file
    text = re.sub(r"^# (?=shares = )", "", file, flags=re.MULTILINE)
    assert parse_order_file(text, lambda _name: revision).shares == {"main": 600, "spare": 400}


def test_the_configuration_of_an_esp32_line(tmp_path: Path) -> None:
    printed, _ = PRINTED["esp32.md"]
    file = tmp_path / "agent.toml"
    file.write_text(printed, "utf-8")
    loaded = agent_config.load(file)
    assert loaded.bundle is not None
    assert (loaded.driver, loaded.bundle.path) == ("esp32", tmp_path / "sensor-1.4.0.zip")
    assert tomllib.loads(printed) == tomllib.loads(text_of("agent-esp32.toml"))


def test_the_reset_command_of_a_fixture() -> None:
    _, printed = PRINTED["esp32.md"]
    options = parse_options(tomllib.loads(printed)["drivers"]["esp32"])
    assert options.reset_command[0] == "/usr/local/bin/press"


@pytest.mark.parametrize("name", ["agent.toml", "agent-esp32.toml"])
def test_what_an_agents_configuration_has_as_a_comment_is_read_too(name: str, tmp_path: Path) -> None:
    commented = re.compile(r'^# (?=\[[\w.]+\] |[a-z_]+ = |"/dev)', re.MULTILINE)
    file = tmp_path / name
    file.write_text(commented.sub("", text_of(name)), "utf-8")
    loaded = agent_config.load(file)
    assert loaded.shifts
    assert loaded.places
    assert loaded.label is not None
    assert loaded.results.command


def test_the_options_of_driver_esp32_are_all_there_with_their_defaults() -> None:
    commented = re.findall(
        r"^# ((?:\[drivers\.esp32\]|[a-z_]+ = ).*)$", text_of("agent-esp32.toml"), re.MULTILINE
    )
    options = tomllib.loads("\n".join(commented).partition("[drivers.esp32]")[2].partition("\n")[2])
    assert set(options) == set(Esp32Options.model_fields)
    assert parse_options(options) == Esp32Options(reset_command=tuple(options["reset_command"]))


def test_product_and_order_of_the_formats() -> None:
    printed = PRINTED["formats.md"]
    product = parse_product(printed[0])
    assert set(product.evidence.methods) == set(METHODS) - {"none"}
    assert review_trust(product.evidence, NOW) == []
    revision = ProductRevision(product, bytes(32))
    order = parse_order_file(printed[1], lambda name: revision if name == product.name else None)
    assert order.work_order == "WO-2026-001"
    assert order.bundle is not None


def test_order_is_for_the_product() -> None:
    order = parse_order_file(text_of("order.toml"), find)
    assert (order.work_order, order.product, order.quantity) == ("WO-2026-001", "sensor", 1000)


def test_what_the_order_has_as_a_comment_is_read_too() -> None:
    text = re.sub(
        r"^# ?(?=\[bundle|sha256|product =|chip =|app =|$)", "", text_of("order.toml"), flags=re.MULTILINE
    )
    order = parse_order_file(text, find)
    assert order.bundle is not None
    assert list(order.bundle.firmware) == ["app"]


def find(name: str) -> ProductRevision | None:
    product = parse_product(text_of("product.toml"))
    return ProductRevision(product, bytes(32)) if name == product.name else None


def test_recipe_has_the_steps_of_boards_that_come_with_their_firmware() -> None:
    recipe = parse_recipe((EXAMPLES / "recipe.toml").read_bytes())
    others = {StepName.FLASH, StepName.FIRST_BOOT, StepName.LABEL}
    assert recipe.names == tuple(name for name in StepName if name not in others)


def test_recipe_for_esp32_has_every_step_and_is_what_its_driver_does_without_one() -> None:
    recipe = parse_recipe((EXAMPLES / "recipe-esp32.toml").read_bytes())
    assert recipe.names == tuple(StepName)
    assert recipe.challenge
    assert recipe == parse_recipe(DEFAULT_RECIPE)


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


PRODUCTS = {path.name: path.read_text("utf-8") for path in sorted(EXAMPLES.glob("product*.toml"))}


@pytest.mark.parametrize("name", [*PRODUCTS, "formats.md"])
def test_an_order_for_each_product_that_is_printed_can_be_finished(name: str) -> None:
    product = parse_product(PRODUCTS.get(name) or PRINTED["formats.md"][0])
    text = text_of("order.toml") if name in PRODUCTS else PRINTED["formats.md"][1]
    text = text.replace('product = "sensor"', f'product = "{product.name}"')
    text = re.sub(r"^level = .*$", f'level = "{product.evidence.level.label}"', text, flags=re.MULTILINE)
    order = parse_order_file(text, lambda _name: ProductRevision(product, bytes(32)))
    issuer = Issuer.of((make_device_tree(now=NOW - timedelta(days=1)).sub_ca,))
    result = rehearse(order, product, (), issuer=issuer, now=NOW, listed=())
    assert result.passed, result.rows


def test_a_sub_ca_as_printed_certifies_boards_as_printed_for_as_long_as_the_page_says() -> None:
    (sub_ca, root) = map(
        int, re.findall(r"-days (\d+)", (EXAMPLES.parent / "hsm" / "sub-ca.cnf").read_text("utf-8"))
    )
    page = " ".join((DOCS / "operations.md").read_text("utf-8").split())
    (lives, valid, days, goes_on) = map(
        int,
        re.findall(
            r"a sub-CA of (\d+) years, .*? certifies boards that are valid for (\d+) years"
            r" \(`validity_days = (\d+)`\) for (\d+) years",
            page,
        )[0],
    )
    assert all(f"validity_days = {days}" in text for text in PRODUCTS.values())
    assert (lives * 365, valid * 365, goes_on * 365) == (sub_ca, days, sub_ca - days)
    assert (sub_ca, root) == (device_ca.SUB_CA_DAYS, device_ca.ROOT_DAYS)
