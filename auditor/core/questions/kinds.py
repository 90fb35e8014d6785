"""Which certificates a question is about, by what their evidence says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from auditor.errors import Malformed


@dataclass(frozen=True, slots=True)
class Kinds:
    """Empty members choose nothing out. Of several components of the firmware, all must be so."""

    firmware: Mapping[str, str] = field(default_factory=dict)
    level: str = ""
    method: str = ""
    product: str = ""

    @property
    def all(self) -> bool:
        """True if every certificate is meant."""
        return not (self.firmware or self.level or self.method or self.product)

    def hold(self, kind: Mapping[str, Any]) -> bool:
        """True if a certificate of this kind is meant."""
        said = firmware_of(kind)
        wanted = (("level", self.level), ("method", self.method), ("product", self.product))
        return all(not value or kind[name] == value for name, value in wanted) and all(
            said.get(name) == version for name, version in self.firmware.items()
        )


def firmware_of(kind: Mapping[str, Any]) -> dict[str, str]:
    """Versions by component: as measured, and else as the board claims."""
    return {**kind["firmware"], **kind["measured"]}


def firmware(items: Sequence[str]) -> dict[str, str]:
    """`app=1.2.0`, once for each component. Raises Malformed."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, version = item.partition("=")
        if not (name and equals and version):
            raise Malformed(f"{item!r} is no firmware: write COMPONENT=VERSION, as app=1.2.0")
        if found.setdefault(name, version) != version:
            raise Malformed(f"{name} is asked for in two versions")
    return found
