"""Recipes: what is taken, and each thing that is not."""

from __future__ import annotations

import pytest

from agent.core.recipe import RecipeError, StepName, default_recipe, parse_recipe

GOOD = 'name = "sensor"\n' + "".join(f'\n[[step]]\nname = "{name}"\n' for name in StepName)


def test_default_has_every_step_in_order() -> None:
    assert [step.name for step in default_recipe().steps] == list(StepName)


def test_every_step() -> None:
    recipe = parse_recipe(GOOD.encode())
    assert recipe.steps == default_recipe().steps
    assert recipe.key_type is None


def test_bounds_and_key_type() -> None:
    text = GOOD.replace('"keygen"', '"keygen"\ntimeout_s = 60\nretries = 1\nkey_type = "p256"')
    recipe = parse_recipe(text.encode())
    step = recipe.step(StepName.KEYGEN)
    assert step is not None
    assert (step.timeout_s, step.retries, recipe.key_type) == (60.0, 1, "p256")


@pytest.mark.parametrize("name", [StepName.KEYGEN, StepName.SEAL, StepName.VERIFY])
def test_steps_that_may_be_left_out(name: StepName) -> None:
    recipe = parse_recipe(GOOD.replace(f'\n[[step]]\nname = "{name}"\n', "").encode())
    assert recipe.step(name) is None


@pytest.mark.parametrize("name", sorted(set(StepName) - {StepName.KEYGEN, StepName.SEAL, StepName.VERIFY}))
def test_steps_that_may_not(name: StepName) -> None:
    with pytest.raises(RecipeError, match=f"{name}: cannot be left out"):
        parse_recipe(GOOD.replace(f'\n[[step]]\nname = "{name}"\n', "").encode())


@pytest.mark.parametrize(("early", "late"), list(zip(list(StepName)[1:], StepName, strict=False)))
def test_order(early: StepName, late: StepName) -> None:
    swapped = GOOD.replace(f'"{early}"', '"?"').replace(f'"{late}"', f'"{early}"').replace('"?"', f'"{late}"')
    with pytest.raises(RecipeError, match=f"{early}: must stand after {late}"):
        parse_recipe(swapped.encode())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "sensor"', "", "name: must be a text"),
        ('name = "sensor"', 'name = "sensor"\ncolour = "red"', "recipe: unknown key colour"),
        ('"seal"', '"seel"', "step 7: no step 'seel'"),
        ('"seal"', '"seal"\ncolour = 1', "seal: unknown key colour"),
        ('"seal"', '"seal"\nkey_type = "p256"', "seal: unknown key key_type"),
        ('"seal"', '"seal"\ntimeout_s = 0', "timeout_s"),
        ('"seal"', '"seal"\ntimeout_s = "1"', "timeout_s"),
        ('"seal"', '"seal"\ntimeout_s = true', "timeout_s"),
        ('"seal"', '"seal"\ntimeout_s = nan', "timeout_s"),
        ('"seal"', '"seal"\nretries = 11', "retries"),
        ('"seal"', '"seal"\nretries = 1.5', "retries"),
        ('"keygen"', '"keygen"\nkey_type = "ed25519"', "key type"),
        ('"verify"', '"seal"', "seal: stands twice"),
        ("[[step]]", "[[", "not valid TOML"),
    ],
)
def test_what_is_refused(old: str, new: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        parse_recipe(GOOD.replace(old, new, 1).encode())


@pytest.mark.parametrize("data", [b"\xff", b"step = 1\nname = 'x'", b"#" * 40_000, b"a = " + b"[" * 5_000])
def test_no_recipe_at_all(data: bytes) -> None:
    with pytest.raises(RecipeError):
        parse_recipe(data)
