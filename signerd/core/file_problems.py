"""What is wrong with a TOML file, said in the words of the file and not of the library that reads it."""

from __future__ import annotations

from pydantic import ValidationError

_SAID = {
    "extra_forbidden": "no such key",
    "missing": "it is missing",
    "model_type": "must be a table",
    "dict_type": "must be a table",
}
_PREFIX = "Value error, "


def problems(error: ValidationError) -> list[str]:
    """A line for each key that is wrong, unknown or missing, `section.key: what is wrong`."""
    errors = error.errors()
    places = [item["loc"] for item in errors]
    lines = []
    for item in errors:
        where = item["loc"]
        # A list of which an item is wrong also counts as too short: the item says all there is to say.
        if item["type"] == "too_short" and any(place[: len(where)] == where != place for place in places):
            continue
        said = _SAID.get(item["type"]) or item["msg"].removeprefix(_PREFIX)
        lines.append(f"{'.'.join(map(str, where))}: {said}" if where else said)
    return lines
