"""Recipes: what is taken, and each thing that is not."""

from __future__ import annotations

import itertools

import pytest

from agent.core.recipe import AFTER, RecipeError, StepName, default_recipe, parse_recipe

GOOD = 'name = "sensor"\n' + "".join(f'\n[[step]]\nname = "{name}"\n' for name in StepName)


MAY_BE_LEFT_OUT = {
    StepName.FLASH,
    StepName.KEYGEN,
    StepName.SEAL,
    StepName.FIRST_BOOT,
    StepName.VERIFY,
    StepName.LABEL,
}


def ordered(*names: StepName) -> bytes:
    return ('name = "sensor"\n' + "".join(f'[[step]]\nname = "{name}"\n' for name in names)).encode()


def test_default_has_the_steps_in_order() -> None:
    assert default_recipe(list(StepName)).names == tuple(StepName)
    assert default_recipe({StepName.STAMP, StepName.IDENTIFY}).names == (StepName.IDENTIFY, StepName.STAMP)


def test_every_step() -> None:
    recipe = parse_recipe(GOOD.encode())
    assert recipe.steps == default_recipe(list(StepName)).steps
    assert recipe.key_type is None
    assert not recipe.challenge


def test_new_steps_have_bounds_of_their_own() -> None:
    recipe = parse_recipe(GOOD.encode())
    seconds: dict[str, float] = {step.name: step.timeout_s for step in recipe.steps}
    assert (seconds["flash"], seconds["first-boot"], seconds["label"]) == (300.0, 120.0, 30.0)


def test_challenge() -> None:
    assert parse_recipe(GOOD.replace('"verify"', '"verify"\nchallenge = true').encode()).challenge
    assert not parse_recipe(GOOD.replace('"verify"', '"verify"\nchallenge = false').encode()).challenge


def test_bounds_and_key_type() -> None:
    text = GOOD.replace('"keygen"', '"keygen"\ntimeout_s = 60\nretries = 1\nkey_type = "p256"')
    recipe = parse_recipe(text.encode())
    step = recipe.step(StepName.KEYGEN)
    assert step is not None
    assert (step.timeout_s, step.retries, recipe.key_type) == (60.0, 1, "p256")


@pytest.mark.parametrize("name", sorted(MAY_BE_LEFT_OUT - {StepName.SEAL}))
def test_steps_that_may_be_left_out(name: StepName) -> None:
    recipe = parse_recipe(GOOD.replace(f'\n[[step]]\nname = "{name}"\n', "").encode())
    assert recipe.step(name) is None


@pytest.mark.parametrize("name", sorted(set(StepName) - MAY_BE_LEFT_OUT))
def test_steps_that_may_not(name: StepName) -> None:
    with pytest.raises(RecipeError, match=f"{name}: cannot be left out"):
        parse_recipe(GOOD.replace(f'\n[[step]]\nname = "{name}"\n', "").encode())


def test_first_boot_needs_the_seal() -> None:
    with pytest.raises(RecipeError, match="seal: cannot be left out where first-boot is not"):
        parse_recipe(ordered(*(name for name in StepName if name is not StepName.SEAL)))
    neither = [name for name in StepName if name not in {StepName.SEAL, StepName.FIRST_BOOT}]
    assert parse_recipe(ordered(*neither)).names == tuple(neither)


@pytest.mark.parametrize(
    ("late", "early"), [(late, early) for late in StepName for early in AFTER[late]], ids=str
)
def test_order(late: StepName, early: StepName) -> None:
    """The late step, moved before the early one, is refused for a reason of the table."""
    names = [name for name in StepName if name is not late]
    names.insert(names.index(early), late)
    with pytest.raises(RecipeError, match=f"{late}: must stand after") as refused:
        parse_recipe(ordered(*names))
    assert any(reason in str(refused.value) for reason in AFTER[late].values())


@pytest.mark.parametrize(("late", "early"), list(itertools.combinations(reversed(StepName), 2)), ids=str)
def test_two_steps_that_the_table_says_nothing_of_may_be_exchanged(late: StepName, early: StepName) -> None:
    """Of neighbours: steps farther apart have others between them."""
    names = list(StepName)
    at = names.index(early)
    if names.index(late) != at + 1:
        names = [name for name in names if name not in names[at + 1 : names.index(late)]]
    names[at], names[at + 1] = names[at + 1], names[at]
    try:
        parse_recipe(ordered(*names))
    except RecipeError as error:
        assert early in AFTER[late] or "cannot be left out" in str(error)  # noqa: PT017
    else:
        assert early not in AFTER[late]


@pytest.mark.parametrize("before", [StepName.VERIFY, StepName.STAMP])
def test_label_may_stand_before_the_stamp(before: StepName) -> None:
    names: list[StepName] = [name for name in StepName if name is not StepName.LABEL]
    names.insert(names.index(before), StepName.LABEL)
    assert parse_recipe(ordered(*names)).names == tuple(names)


def test_settings_may_be_stored_first() -> None:
    swapped = (
        GOOD.replace('"install"', '"?"').replace('"configure"', '"install"').replace('"?"', '"configure"')
    )
    names = parse_recipe(swapped.encode()).names
    assert names.index(StepName.CONFIGURE) < names.index(StepName.INSTALL)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "sensor"', "", "name: must be a text"),
        ('name = "sensor"', 'name = "sensor"\ncolour = "red"', "colour: no such key"),
        ('"seal"', '"seel"', "step 8: no step 'seel'"),
        ('"seal"', '"seal"\ncolour = 1', "seal.colour: no such key"),
        ('"seal"', '"seal"\nkey_type = "p256"', "seal.key_type: no such key"),
        ('"seal"', '"seal"\ntimeout_s = 0', "timeout_s"),
        ('"seal"', '"seal"\ntimeout_s = "1"', "timeout_s"),
        ('"seal"', '"seal"\ntimeout_s = true', "timeout_s"),
        ('"seal"', '"seal"\ntimeout_s = nan', "timeout_s"),
        ('"seal"', '"seal"\nretries = 11', "retries"),
        ('"seal"', '"seal"\nretries = 1.5', "retries"),
        ('"seal"', '"seal"\nchallenge = true', "seal.challenge: no such key"),
        ('"verify"', '"verify"\nchallenge = 1', "challenge must be true or false"),
        ('"first-boot"', '"first-boot"\ntimeout_s = 3601', "timeout_s"),
        ('"keygen"', '"keygen"\nkey_type = "ed25519"', "key type"),
        ('"verify"', '"seal"', "seal: appears twice"),
        ("[[step]]", "[[", "is not TOML"),
    ],
)
def test_what_is_refused(old: str, new: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        parse_recipe(GOOD.replace(old, new, 1).encode())


@pytest.mark.parametrize("data", [b"\xff", b"step = 1\nname = 'x'", b"#" * 40_000, b"a = " + b"[" * 5_000])
def test_no_recipe_at_all(data: bytes) -> None:
    with pytest.raises(RecipeError):
        parse_recipe(data)
