"""What signerd makes ready before it serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.installation import Installation
from harness.process import ProgramError


@pytest.mark.check
def test_the_checks_of_keys_are_ready_before_the_first_key(tmp_path: Path) -> None:
    """They take longer than a caller may wait on the event loop: without them nothing is served."""
    package = tmp_path / "packages" / "badkeys"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('this package is broken')\n", encoding="utf-8")
    with Installation(tmp_path / "line") as installation:
        with pytest.raises(ProgramError, match="this package is broken"):
            installation.start_signerd({"PYTHONPATH": str(package.parent)})
        assert not installation.port_file.exists()
        installation.start_signerd()
