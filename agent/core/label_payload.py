"""What the code of a label says: the payload of ESP provisioning, or a text of the product's own.

ESP provisioning: the JSON object that the apps of ESP-IDF's `wifi_provisioning` and ESP RainMaker scan, with
members `ver`, `name`, `username`, `pop`, `transport`, `security`, `password`, `network`. It is built as JSON,
so that no character of a code or a name can end a string.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal, Self
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from agent.core.label import Label
from agent.core.label_pattern import POP, LabelContentError, Pattern, parse_pattern

MIN_MODULE_MM = 0.33  # what cheap phone cameras and 203 dpi printers (3 dots are 0.375 mm) both manage
MAX_MODULE_MM = 5.0
QUIET_ZONE_MODULES = 4  # ISO/IEC 18004:2015, 6.3.8
_MAX_QUIET_ZONE = 16
# ESP-IDF protocomm_ble.h, MAX_BLE_DEVNAME_LEN: a scan response less length and type; IEEE 802.11: an SSID.
_MAX_NAME_BYTES = {"ble": 29, "softap": 32}
_MAX_TEXT = 512
_URL_BEFORE_FIELDS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]+[/?#]")
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*")  # RFC 3986, 2
_PRINTABLE_ASCII = re.compile(r"[ -~]+")


def _pattern_text(text: str) -> str:
    parse_pattern(text)
    return text


PatternText = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT), AfterValidator(_pattern_text)]


class Strict(BaseModel):
    """Unknown keys are refused, types are what TOML says."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class CodeShape(Strict):
    """How a code is drawn."""

    error_correction: Literal["L", "M", "Q", "H"] = "M"  # at least; more where it costs no space
    module_mm: Annotated[float, Field(ge=MIN_MODULE_MM, le=MAX_MODULE_MM)] = MIN_MODULE_MM  # at least
    size_mm: Annotated[float, Field(gt=0, le=300)] | None = None  # side at most; none: as large as it goes
    quiet_zone: Annotated[int, Field(ge=QUIET_ZONE_MODULES, le=_MAX_QUIET_ZONE)] = QUIET_ZONE_MODULES


class ProvisioningCode(CodeShape):
    """The payload of ESP provisioning."""

    kind: Literal["esp-provisioning"]
    name: PatternText  # as the board calls itself on the air
    transport: Literal["ble", "softap"]
    security: Literal[1, 2] | None = None  # none: the member is left out, as ESP-IDF's examples do
    username: PatternText | None = None
    password: PatternText | None = None  # of the board's access point
    network: Literal["wifi", "thread"] | None = None

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.security == 2 and self.username is None:
            raise ValueError("security 2 asks the app for a username: give it here")
        if self.security == 1 and self.username is not None:
            raise ValueError("username belongs to security 2")
        if self.password is not None and self.transport != "softap":
            raise ValueError("password is that of the board's access point: it belongs to transport softap")
        if self.transport == "softap" and self.network == "thread":
            raise ValueError("a board for a Thread network is provisioned over ble")
        return self

    @property
    def carries_pop(self) -> bool:
        """True if whoever reads the code learns the proof-of-possession code."""
        return True

    def payload(self, label: Label) -> str:
        """The JSON object. Raises LabelContentError."""
        name = parse_pattern(self.name).fill(label)
        most = _MAX_NAME_BYTES[self.transport]
        if len(name.encode()) > most:
            raise LabelContentError(f"the board's name over {self.transport} has more than {most} bytes")
        members = {
            "ver": "v1",
            "name": name,
            "username": _filled(self.username, label),
            "pop": parse_pattern("{pop}").fill(label),
            "transport": self.transport,
            "security": self.security,
            "password": _filled(self.password, label),
            "network": self.network,
        }
        said = {key: value for key, value in members.items() if value is not None}
        return json.dumps(said, separators=(",", ":"))


class TextCode(CodeShape):
    """A text of the product's own. In a URL each field is percent-encoded, so that it stays one value."""

    kind: Literal["text"]
    text: PatternText

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        pattern = parse_pattern(self.text)
        if self._is_url:
            if _URL_BEFORE_FIELDS.match(pattern.beginning) is None:
                raise ValueError("a field may stand in the path, query or fragment of a URL, not before them")
            if _URL_CHARACTERS.fullmatch(pattern.literals) is None:
                raise ValueError("has a character that a URL must not have; percent-encode it")
        elif _PRINTABLE_ASCII.fullmatch(pattern.literals or " ") is None:
            raise ValueError("may have printable ASCII characters alone: readers disagree on all others")
        return self

    @property
    def _is_url(self) -> bool:
        return "://" in parse_pattern(self.text).literals

    @property
    def carries_pop(self) -> bool:
        """True if whoever reads the code learns the proof-of-possession code."""
        return POP in parse_pattern(self.text).fields

    def payload(self, label: Label) -> str:
        """The text. Raises LabelContentError."""
        pattern: Pattern = parse_pattern(self.text)
        if self._is_url:
            return pattern.fill(label, _percent_encoded)
        text = pattern.fill(label)
        if _PRINTABLE_ASCII.fullmatch(text) is None:
            raise LabelContentError("a value in the code has other characters than printable ASCII")
        return text


def _filled(text: str | None, label: Label) -> str | None:
    return None if text is None else parse_pattern(text).fill(label)


def _percent_encoded(value: str) -> str:
    return quote(value, safe="")
