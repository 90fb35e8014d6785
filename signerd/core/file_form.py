"""`v` of files that administrators write: the form that a file has. One without it has form 1."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

FORM = 1


def _form(value: Any) -> int:
    if type(value) is not int or value != FORM:  # true is no number here
        raise ValueError(f"must be {FORM}: this signerd reads no other form of this file")
    return value


FileForm = Annotated[int, BeforeValidator(_form)]
