"""The key holder's service of an installation whose signerd held its keys itself until now.

installation.process.stop()
service = KeyHolderService(installation)
service.take_over()
service.start()
installation.start_signerd()
service.admin("recipient", "try")           # a command that goes to the token
"""

from __future__ import annotations

from pathlib import Path

from harness.installation import Installation
from harness.process import Program, wait_until
from harness.signerd_commands import signerd


class KeyHolderService:
    """Beside the installation, of the same user unless `take_over` is told otherwise."""

    process: Program

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.settings = installation.directory / "key-holder" / "keyholder.toml"
        self.notes = installation.directory / "notes" / "notes.sqlite"
        self._said = installation.logs / "key-holder.out"

    def take_over(self, *options: str | Path) -> str:
        """`signerd key-holder take-over`."""
        socket = self.installation.directory / "s"
        where = ("--to", self.settings, "--state", self.notes.parent, "--socket", socket)
        return self.installation.admin("key-holder", "take-over", *where, "--client", "root", *options)

    def run(self) -> Program:
        """`signerd key-holder run`, which may end at once."""
        command: list[str | Path] = [self.installation.commands / "signerd", "key-holder", "run"]
        self.process = self.installation.start([*command, "-c", self.settings], "key-holder")
        return self.process

    def start(self) -> None:
        """Returns when it serves."""
        before = self._said.read_text("utf-8") if self._said.exists() else ""
        process = self.run()
        wait_until(
            lambda: "serves" in process.output()[len(before) :],
            "the service",
            program=process,
            timeout_s=60,  # a token's logins may take seconds
        )

    def restart(self) -> None:
        """Both, the service first."""
        self.stop()
        self.start()
        self.installation.start_signerd()

    def stop(self) -> None:
        """Both."""
        self.installation.process.stop()
        self.process.stop()

    def admin(self, *command: str | Path) -> str:
        """A command that goes to the token; what it printed."""
        return self.installation.admin(*command, "--key-holder", self.settings)

    def refused(self, *command: str | Path) -> tuple[int, str]:
        """One that fails: its exit code, and all that it said."""
        return signerd(self.installation, *command, "--key-holder", self.settings)
