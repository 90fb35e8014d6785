"""Templates of new keys, and what is left out of them where a module refuses the whole.

Some modules take no attribute that they have decided themselves: tpm2-pkcs11 refuses a capability that is
denied, others refuse CKA_ID or CKA_COPYABLE. What makes a key one that stays in the token, CKA_SENSITIVE and
CKA_EXTRACTABLE, is in every template, and is read back before the key is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pkcs11 import Attribute, MechanismFlag
from pkcs11.constants import DEFAULT
from pkcs11.exceptions import (
    ArgumentsBad,
    AttributeReadOnly,
    AttributeTypeInvalid,
    AttributeValueInvalid,
    FunctionFailed,
    GeneralError,
    KeySizeRange,
    PKCS11Error,
    TemplateIncomplete,
    TemplateInconsistent,
)

Template = dict[Attribute, Any]
Made = TypeVar("Made")

_FIXED: Template = {Attribute.MODIFIABLE: False, Attribute.COPYABLE: False}
_PRIVATE: Template = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
_PUBLIC_CAPABILITIES = {
    Attribute.ENCRYPT: MechanismFlag.ENCRYPT,
    Attribute.WRAP: MechanismFlag.WRAP,
    Attribute.VERIFY: MechanismFlag.VERIFY,
}
_PRIVATE_CAPABILITIES = {
    Attribute.DECRYPT: MechanismFlag.DECRYPT,
    Attribute.UNWRAP: MechanismFlag.UNWRAP,
    Attribute.SIGN: MechanismFlag.SIGN,
    Attribute.DERIVE: MechanismFlag.DERIVE,
}
# What modules answer to a template or a size that they do not take. Some have no better word than the last
# three.
_REFUSALS = (
    AttributeReadOnly,
    AttributeTypeInvalid,
    AttributeValueInvalid,
    TemplateIncomplete,
    TemplateInconsistent,
    KeySizeRange,
    ArgumentsBad,
    GeneralError,
    FunctionFailed,
)


def pair_templates(capabilities: MechanismFlag) -> Iterator[tuple[Template, Template]]:
    """Of the public and the private half, for `generate_keypair`: the whole, then with ever more left out."""
    public, private = {**_FIXED}, {**_FIXED, **_PRIVATE}
    yield {**public}, {**private}
    # A module of PKCS #11 2.20 does not know it: that is no reason to grant capabilities.
    uncopied = _left_out(iter([Attribute.COPYABLE]))
    yield public | uncopied, private | uncopied
    # Nor is it one that some take ids of two bytes alone, or none.
    unnamed = _left_out(iter([Attribute.ID]))
    yield public | unnamed, private | unnamed
    yield public | uncopied | unnamed, private | uncopied | unnamed
    # A capability that is denied is one that the module grants, or does not know.
    public |= _left_out(name for name, flag in _PUBLIC_CAPABILITIES.items() if not capabilities & flag)
    private |= _left_out(name for name, flag in _PRIVATE_CAPABILITIES.items() if not capabilities & flag)
    yield {**public}, {**private}
    public |= _left_out(iter(_PUBLIC_CAPABILITIES))  # whoever has the public key does that without a token
    yield {**public}, {**private}
    public |= _left_out(iter(_FIXED))
    private |= _left_out(iter(_FIXED))
    yield {**public}, {**private}
    yield public | unnamed, private | unnamed


def secret_templates() -> Iterator[Template]:
    """The same of a secret key, for `generate_key`. Its capabilities stay: it signs, and nothing else."""
    yield {**_FIXED, **_PRIVATE}
    yield {**_FIXED, **_PRIVATE, Attribute.COPYABLE: DEFAULT}
    yield {**_FIXED, **_PRIVATE, Attribute.ID: DEFAULT}
    yield {**_PRIVATE}
    yield {**_PRIVATE, Attribute.ID: DEFAULT}


def first_taken(attempts: Iterator[Callable[[], Made]]) -> Made:
    """What the first attempt makes whose template the module takes.

    Raises:
        PKCS11Error: it takes none, what it said of the whole template; or it failed in another way.
    """
    refused: PKCS11Error | None = None
    for attempt in attempts:
        try:
            return attempt()
        except _REFUSALS as error:
            refused = refused or error
    if refused is None:
        raise ValueError("nothing was to be tried")
    raise refused


def _left_out(names: Iterator[Attribute]) -> dict[Attribute, Any]:
    return dict.fromkeys(names, DEFAULT)
