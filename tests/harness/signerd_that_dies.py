"""The real signerd, which kills itself with SIGKILL at a named point of its work.

    python tests/harness/signerd_that_dies.py CONTROL run --config FILE

While the file CONTROL holds the name of a point, the next call that reaches it ends the process. The points
are put around the product's own functions from outside: signerd has no hook of its own for this.
"""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from signerd import issuance, stamping
from signerd.__main__ import main
from signerd.adapters.keyholder.client import KeyHolderProcess
from signerd.adapters.store.sqlstore import SqlStore
from signerd.core.prepared import PreparedCertificate
from signerd.core.session import SessionSealer

# Name of the point → where the function stands. Each is a point before and a point after.
FUNCTIONS: dict[str, tuple[Any, str]] = {
    "1 station": (issuance, "_check_station"),
    "2 session": (SessionSealer, "open"),
    "3 csr": (issuance, "check_csr"),
    "4 evidence": (issuance, "verify_evidence"),
    "4 mac": (KeyHolderProcess, "check_chip_mac"),
    "5 policy": (issuance, "check_firmware"),
    "6 place": (SqlStore, "take_place"),
    "7 certificate": (issuance, "build_tbs"),
    "7 lint": (issuance, "lint"),
    "9 take": (PreparedCertificate, "take"),
    "9 sign": (KeyHolderProcess, "sign_certificate"),
    "10 verify": (issuance, "_verify"),
    "11 complete": (SqlStore, "complete"),
    "11 checkpoint": (KeyHolderProcess, "sign_checkpoint"),
    "12 published": (SqlStore, "published"),
}
STAMPING: dict[str, tuple[Any, str]] = {
    "stamp 3 signature": (stamping, "check_signature"),
    "stamp 4 fields": (stamping, "check_agrees"),
    "stamp 5 demands": (stamping, "check_firmware"),
    "stamp 6 record": (SqlStore, "record_stamp"),
    "stamp 6 published": (SqlStore, "published"),
}
ADMINISTRATION: dict[str, tuple[Any, str]] = {
    "import identities": (SqlStore, "import_identities"),
    "import chips": (SqlStore, "import_chips"),
    "personalize chips": (SqlStore, "personalize_chips"),
}


def points(functions: dict[str, tuple[Any, str]]) -> list[str]:
    """The names that CONTROL may hold."""
    return [f"{when} {name}" for name in functions for when in ("before", "after")]


def die_if(control: Path, name: str) -> None:
    """Ends this process, if it is this point's turn."""
    if control.exists() and control.read_text(encoding="ascii") == name:
        os.kill(os.getpid(), signal.SIGKILL)


def deadly(function: Callable[..., Any], names: list[str], control: Path) -> Callable[..., Any]:
    """The function, with a point before it and one after it."""

    def before() -> None:
        for name in names:
            die_if(control, f"before {name}")

    def after() -> None:
        for name in names:
            die_if(control, f"after {name}")

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*arguments: Any, **named: Any) -> Any:
            before()
            result = await function(*arguments, **named)
            after()
            return result

        return awaited

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        before()
        result = function(*arguments, **named)
        after()
        return result

    return called


def arm(control: Path) -> None:
    """Puts the points around the functions."""
    places: dict[tuple[int, str], tuple[Any, str, list[str]]] = {}
    for name, (owner, attribute) in {**FUNCTIONS, **STAMPING, **ADMINISTRATION}.items():
        places.setdefault((id(owner), attribute), (owner, attribute, []))[2].append(name)
    for owner, attribute, names in places.values():
        setattr(owner, attribute, deadly(getattr(owner, attribute), names, control))


if __name__ == "__main__":
    arm(Path(sys.argv[1]))
    sys.argv = ["signerd", *sys.argv[2:]]
    main()
