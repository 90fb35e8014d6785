"""The PIN of a probe: given once, and to no token that is known to have rejected it.

Which token that is, is known when the probe has found it. The note is that of whoever gives the command; that
of an installation on the token beside, where one is named.
"""

from __future__ import annotations

from signerd.adapters.keyholder.held_pin import WrongPin
from signerd.adapters.keyholder.pool import rejected_pins
from signerd.adapters.keyholder.rejected_pin import NoteDamagedError, RejectedPins
from signerd.config import Keys
from signerd.core.token_choice import token_choice


class ProbePin:
    """Of a token behind this module, however it is chosen."""

    def __init__(self, pin: bytes, module: str, token: str, config: Keys | None) -> None:
        """`token` as the command names it. `config`: of an installation on the token."""
        self._pin, self._module, self._token, self._config = pin, module, token, config
        self._given_to: tuple[str, str] | None = None  # label and serial

    def __repr__(self) -> str:
        return "ProbePin(…)"

    def look(self, label: str = "", serial: str = "") -> None:
        """By what is known of the token: without label and number before anybody looked at it. Raises
        WrongPin: it was rejected before, or that cannot be known."""
        installation = [] if self._config is None else [rejected_pins(self._config)]
        for note in (*installation, *self._of_user(serial or label)):
            try:
                since = note.since(self._pin)
            except NoteDamagedError as error:
                raise WrongPin(f"{error}: see that the PIN is right, then remove the file") from error
            if since is not None:
                raise WrongPin(
                    f"the token rejected this PIN at {since}: it was not asked, and it is not tried again. If"
                    f" the token's PIN was changed to it since, remove {note.file}"
                )

    def give(self, label: str, serial: str) -> bytes:
        """The PIN, for one login. Raises as `look`."""
        self.look(label, serial)
        self._given_to = (label, serial)
        return self._pin

    def rejected(self, detail: str) -> WrongPin:
        """Notes that the token rejected it, where it was asked at all; gives the exception to raise."""
        if self._given_to is None:  # one try is left, or none: nothing is known of this PIN
            return WrongPin(detail)
        label, serial = self._given_to
        notes = [self._of_user(serial or label)[0]]
        if self._config is not None and self._is_installations(self._config, label, serial):
            notes.append(rejected_pins(self._config))
        for note in notes:
            try:
                note.add(self._pin, (label, serial))
            except (OSError, NoteDamagedError) as error:
                detail = f"{detail}\nthis could not be noted, so the next probe would try it again: {error}"
        return WrongPin(detail)

    def _of_user(self, own: str) -> list[RejectedPins]:
        """By the name that the command gives, and by the token's own."""
        names = dict.fromkeys(name for name in (self._token, own) if name)
        return [RejectedPins.of_user(module=self._module, token=name) for name in names or ("",)]

    def _is_installations(self, config: Keys, label: str, serial: str) -> bool:
        same_module = str(config.hsm.module) == self._module
        return same_module and token_choice(config.hsm.token).fits(label, serial)
