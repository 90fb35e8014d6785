"""Go programs of tests/interop that judge what we make with code that nobody here wrote, built once and kept.

A program is built again when its sources or pinned modules change. Modules come by the ordinary client, and
are held against go.sum.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from harness.process import REPOSITORY
from tokens.presence import missing, skip

_GO_PLACES = "/usr/local/go/bin"
_KEPT = Path.home() / ".cache" / "birthmark" / "interop"
_BUILD_TIMEOUT_S = 900  # the first time all modules are loaded and compiled


def foreign_program(name: str) -> Path:
    """The program of tests/interop/NAME. Skips the test where there is no Go; in CI it then fails."""
    go = shutil.which("go") or shutil.which("go", path=_GO_PLACES)
    skip(missing("code of others in Go", golang_go=None if go is None else Path(go)))
    assert go is not None
    source = REPOSITORY / "tests" / "interop" / name
    program = _KEPT / f"{name}-{_digest(source)}"
    _KEPT.mkdir(parents=True, exist_ok=True)
    with (_KEPT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers may want it at once
        if not program.exists():
            _build(go, source, program)
    return program


def _digest(source: Path) -> str:
    files = sorted(path for path in source.iterdir() if path.suffix in {".go", ".mod", ".sum"})
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def _build(go: str, source: Path, program: Path) -> None:
    waiting = program.with_name(f"{program.name}.new")
    environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "auto", "GOFLAGS": "-mod=readonly"}
    done = subprocess.run(
        [go, "build", "-trimpath", "-buildvcs=false", "-o", waiting, "."],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_BUILD_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    waiting.rename(program)
