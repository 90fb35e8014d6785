"""What measurements share: processes of their own, and an installation without rate limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.process import REPOSITORY


def lift_rate_limits(config: Path) -> None:
    """A bench is one station that does the work of many."""
    text = config.read_text(encoding="utf-8")
    if "[limits]" in text:
        raise RuntimeError("signerd.toml has limits of its own")
    lifted = "\n[limits]\nstation_calls_per_s = 1e6\nstation_burst = 1000000\n"
    config.write_text(text + lifted, encoding="utf-8")


def run_job(module: str, job: Mapping[str, Any]) -> Any:
    """Runs a measuring process of its own; its result is what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "tests")},
    )
    if done.returncode != 0:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout) if done.stdout else None
