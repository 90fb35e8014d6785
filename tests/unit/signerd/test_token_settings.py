"""How settings name a token, its module and the module's environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from signerd.config import TokenSettings

TOKEN = {"module": "libykcs11.so.2", "token": "line", "pin": "prompt"}


def settings(**changed: object) -> TokenSettings:
    return TokenSettings.model_validate(TOKEN | changed, context={"base": Path("/etc/signerd")})


@pytest.mark.parametrize(
    ("given", "module"),
    [
        ("libykcs11.so.2", "libykcs11.so.2"),  # which the loader finds
        ("/usr/lib/a.so", "/usr/lib/a.so"),
        ("./a.so", "/etc/signerd/a.so"),
        ("modules/a.so", "/etc/signerd/modules/a.so"),
    ],
)
def test_a_module_with_a_slash_is_a_path_like_any_other(given: str, module: str) -> None:
    assert settings(module=given).module == Path(module)


@pytest.mark.parametrize("name", ["", "A=B", "A\0"])
def test_what_is_no_variable_of_an_environment_is_refused(name: str) -> None:
    assert settings(environment={"A.B c": "d=\n"}).environment == {"A.B c": "d=\n"}
    with pytest.raises(ValidationError, match="no variable of an environment"):
        settings(environment={name: "value"})


def test_no_value_has_a_zero_byte() -> None:
    with pytest.raises(ValidationError, match="no variable of an environment"):
        settings(environment={"A": "b\0c"})


def test_a_token_has_a_name() -> None:
    with pytest.raises(ValidationError, match="names no token"):
        settings(token="")
