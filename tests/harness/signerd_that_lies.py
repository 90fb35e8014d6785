"""The real signerd, taken over in one exact way: its entries name other anchors than the evidence proved.

    python tests/harness/signerd_that_lies.py CONTROL run --config FILE

While the file CONTROL holds a lie (`LIES`, `IMPORT`, `DISORDER`), the entries of certificates are told by it.
Log, signatures and records are as an honest signerd makes them.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from signerd.__main__ import main
from signerd.adapters.store.boards import issuing
from signerd.core.anchors import Anchor, entry_form

Form = tuple[tuple[str, str | None, str], ...]

LIES: dict[str, Callable[[Form], Iterable[tuple[str, str | None, str]]]] = {
    "none at all": lambda form: form[:0],
    "the first left out": lambda form: form[1:],
    "the last left out": lambda form: form[:-1],
    "a key more": lambda form: [*form, ("key", None, _other())],
    "an import more": lambda form: [*form, ("imported", None, _other())],
    "a personalization more": lambda form: [*form, ("personalized", None, _other())],
    "a serial more": lambda form: [*form, ("serial", _other(), _other())],
    "a UEID more": lambda form: [*form, ("ueid", _other(), _other())],
    "another value": lambda form: [*form[:-1], (*form[-1][:2], _other())],
    "another issuer": lambda form: [(kind, issuer and _other(), value) for kind, issuer, value in form],
}
# An import that is not in the log, in its right form: of certified keys of TPMs, only the count tells.
IMPORT = "a TPM key's name more"
DISORDER: dict[str, Callable[[Form], Form]] = {
    "another order": lambda form: tuple(reversed(form)),
    "one twice": lambda form: (form[0], *form),
}


def _other() -> str:
    return secrets.token_hex(32)


def _order(one: tuple[str, str | None, str]) -> tuple[str, str, str]:
    return one[0], one[1] or "", one[2]


def told(control: Path) -> Callable[[Iterable[Anchor]], Form]:
    """`entry_form`, as the control says."""

    def form(anchors: Iterable[Anchor]) -> Form:
        truth = entry_form(anchors)
        lie = control.read_text(encoding="utf-8") if control.exists() else ""
        if lie == IMPORT:
            return tuple(sorted([*truth, ("imported", None, "000b" + _other())], key=_order))
        if lie in DISORDER:
            return DISORDER[lie](truth)
        return tuple(sorted(LIES[lie](truth), key=_order)) if lie else truth

    return form


if __name__ == "__main__":
    setattr(issuing, "entry_form", told(Path(sys.argv[1])))  # noqa: B010 (it is no export of that module)
    sys.argv = ["signerd", *sys.argv[2:]]
    main()
