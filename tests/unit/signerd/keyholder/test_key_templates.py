"""What is left out of a new key's template where a module refuses the whole, and what never is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pkcs11 import Attribute, MechanismFlag
from pkcs11.attributes import AttributeMapper
from pkcs11.constants import DEFAULT
from pkcs11.exceptions import (
    AttributeTypeInvalid,
    DeviceRemoved,
    GeneralError,
    KeySizeRange,
    PKCS11Error,
    TemplateInconsistent,
)

from signerd.adapters.keyholder.key_templates import first_taken, pair_templates, secret_templates

SIGNS = MechanismFlag.SIGN | MechanismFlag.VERIFY
Template = dict[Attribute, Any]


def sent(template: Template, half: str) -> Template:
    """What reaches the module: ours over python-pkcs11's own."""
    made = getattr(AttributeMapper(), f"{half}_key_template")
    whole = made(capabilities=SIGNS, id_=b"key", label="key", store=True) | template
    return {name: value for name, value in whole.items() if value is not DEFAULT}


Generate = Callable[[Template, Template], Template]


def module(
    *refused: Attribute, error: type[PKCS11Error] = GeneralError
) -> Callable[[Template, Template], Template]:
    """One that takes no such attribute, in either half."""

    def generate(public: Template, private: Template) -> Template:
        if any(
            name in half for half in (sent(public, "public"), sent(private, "private")) for name in refused
        ):
            raise error
        return sent(private, "private")

    return generate


def made(generate: Generate) -> Template:
    return first_taken(partial(generate, *templates) for templates in pair_templates(SIGNS))


def test_a_module_that_takes_all_is_given_all() -> None:
    asked = made(module())
    assert asked[Attribute.SIGN]
    denied = (Attribute.DECRYPT, Attribute.UNWRAP, Attribute.DERIVE, Attribute.MODIFIABLE, Attribute.COPYABLE)
    assert not any(asked[name] for name in denied)
    assert asked[Attribute.ID] == b"key"


@pytest.mark.parametrize(
    "refused",
    [
        (Attribute.ENCRYPT, Attribute.DECRYPT),  # as tpm2-pkcs11 of an EC key
        (Attribute.VERIFY,),
        (Attribute.COPYABLE,),
        (Attribute.ID,),
        (Attribute.ID, Attribute.VERIFY, Attribute.MODIFIABLE, Attribute.UNWRAP),
    ],
)
@pytest.mark.parametrize("error", [GeneralError, AttributeTypeInvalid, TemplateInconsistent])
def test_what_a_module_refuses_is_left_out_and_the_key_still_stays_in_the_token(
    refused: tuple[Attribute, ...], error: type[PKCS11Error]
) -> None:
    asked = made(module(*refused, error=error))
    assert not set(refused) & set(asked)
    assert (asked[Attribute.SENSITIVE], asked[Attribute.EXTRACTABLE]) == (True, False)
    assert all(asked[name] for name in (Attribute.PRIVATE, Attribute.TOKEN, Attribute.SIGN))


def test_no_more_is_left_out_than_it_takes() -> None:
    asked = made(module(Attribute.VERIFY))
    assert {Attribute.ID, Attribute.MODIFIABLE, Attribute.COPYABLE} <= set(asked)


def test_a_module_that_knows_no_copies_denies_the_same_capabilities() -> None:
    """Of PKCS #11 2.20, as opencryptoki's: a CA key of its own making decrypted."""
    asked = made(module(Attribute.COPYABLE, error=AttributeTypeInvalid))
    assert not any(asked[name] for name in (Attribute.DECRYPT, Attribute.UNWRAP, Attribute.MODIFIABLE))
    _, second, *_ = secret_templates()
    assert (second[Attribute.MODIFIABLE], second[Attribute.COPYABLE]) == (False, DEFAULT)


@pytest.mark.parametrize(
    "refused", [(Attribute.ID,), (Attribute.ID, Attribute.COPYABLE)], ids=["id", "id and copies"]
)
def test_a_module_that_takes_no_such_id_denies_the_same_capabilities(refused: tuple[Attribute, ...]) -> None:
    """As those that want ids of two bytes."""
    asked = made(module(*refused))
    denied = (Attribute.DECRYPT, Attribute.UNWRAP, Attribute.DERIVE, Attribute.MODIFIABLE)
    assert [asked.get(name) for name in denied] == [False] * 4


def test_a_size_that_the_token_has_not_makes_way_for_the_next() -> None:
    """Of sealing keys: the longer where the token can (CKR_KEY_SIZE_RANGE)."""
    asked: list[int] = []

    def generate(bits: int) -> int:
        asked.append(bits)
        if bits > 2048:
            raise KeySizeRange
        return bits

    assert first_taken(partial(generate, bits) for bits in (3072, 2048)) == 2048
    assert asked == [3072, 2048]


@pytest.mark.parametrize("name", [Attribute.SENSITIVE, Attribute.EXTRACTABLE])
def test_a_module_that_does_not_take_what_keeps_the_key_in_it_makes_none(name: Attribute) -> None:
    with pytest.raises(TemplateInconsistent):
        made(module(name, error=TemplateInconsistent))


def test_what_is_no_matter_of_the_template_ends_it_at_once() -> None:
    tried = []

    def gone(*templates: Template) -> Template:
        tried.append(templates)
        raise DeviceRemoved

    with pytest.raises(DeviceRemoved):
        made(gone)
    assert len(tried) == 1


def test_of_a_secret_key_too() -> None:
    for template in secret_templates():
        assert (template[Attribute.SENSITIVE], template[Attribute.EXTRACTABLE]) == (True, False)
    *_, last = secret_templates()
    assert last[Attribute.ID] is DEFAULT
