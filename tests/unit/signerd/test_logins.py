"""Where signerd gives a token a PIN. Each place looks at what the token rejected before, and at the tries
that are left; `tests/integration/signerd/test_every_login.py` asks the commands that lead there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SIGNERD = Path(__file__).parents[3] / "signerd"
KEY_HOLDER = SIGNERD / "adapters" / "keyholder"
PINS = {"pin", "user_pin", "so_pin", None}  # keywords of python-pkcs11; None: **, which may have one of them
LOGINS = {
    "token.py Token.open": "C_Login, after `demand_tries`, with the PIN of a HeldPin",
    "token.py CaKey.sign_input": "a key that wants it each time, with the PIN that the login took",
    "token.py Token.change_pin": "C_SetPIN, likewise, of a token that `init --dev` has just made",
    "probing.py _session": "C_Login, after `demand_tries`, with the PIN of a ProbePin",
    "key_trials.py KeyTrials._sign": "a key that wants it each time, with the PIN that the login took",
}


def calls(node: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.Call]]:
    """With the function that each stands in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield inside, child
        match child:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                yield from calls(child, f"{inside}.{name}".lstrip("."))
            case _:
                yield from calls(child, inside)


def calls_below(folder: Path) -> Iterator[tuple[Path, str, ast.Call]]:
    for path in sorted(folder.rglob("*.py")):
        for inside, call in calls(ast.parse(path.read_text("utf-8"))):
            yield path, inside, call


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def gives_a_pin(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    name, words = name_of(call), {keyword.arg for keyword in call.keywords}
    return name in {"set_pin", "init_pin", "login"} or (name in {"open", "sign"} and bool(words & PINS))


def test_the_places_where_a_token_is_given_a_pin() -> None:
    found = {f"{path.name} {inside}" for path, inside, call in calls_below(KEY_HOLDER) if gives_a_pin(call)}
    assert found == set(LOGINS)


def test_nothing_else_knows_the_module() -> None:
    """So that there are no further places."""
    knows = {
        path.name for path in SIGNERD.rglob("*.py") if "\nimport pkcs11\n" in f"\n{path.read_text('utf-8')}"
    }
    assert knows == {"token.py", "token_search.py", "probing.py", "key_trials.py"}


def test_every_held_pin_knows_what_was_rejected() -> None:
    made = [(path, call) for path, _, call in calls_below(SIGNERD) if name_of(call) == "HeldPin"]
    assert len(made) > 4
    assert [str(path) for path, call in made if len(call.args) != 2] == []
