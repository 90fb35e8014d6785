"""An installation by the documents on a clock that the test moves: `harness.moved_time`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from harness.documented import DocumentedInstallation
from harness.moved_time import MovedTime
from harness.softhsm_token import new_token


class LongLivedInstallation(DocumentedInstallation):
    """By a host name, with the HSM's environment at `init`. `sub_ca_days`: of the first sub-CA."""

    def __init__(self, directory: Path, time: MovedTime, *, sub_ca_days: int | None = None) -> None:
        self.time = time
        self._sub_ca_days = sub_ca_days
        super().__init__(directory, server_name="localhost")

    def _token(self) -> list[str | Path]:
        return new_token(self.directory / "softhsm", self.time.environment)

    def signed_offline(self, request: Path, *, days: int | None = None) -> tuple[Path, Path]:
        """By the installation's own root."""
        return super().signed_offline(request, days=days or self._sub_ca_days)

    def years_later(self, moved: timedelta) -> None:
        """The machine was off for as long, and its clock is right. What signerd does not start with by then
        has to be renewed before."""
        self.process.stop()
        self.time.move_by(moved)
        self.start_signerd()
        self.admin("clock", "accept")
