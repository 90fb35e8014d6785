"""The witness of transparency-dev, built of its own code by the ordinary Go client (`gowitness`)."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).parent / "gowitness"


@dataclass(frozen=True)
class GoWitness:
    """One that runs."""

    vkey: str
    url: str


def built(folder: Path, part: str = ".") -> Path | None:
    """The witness, or with `./feed` the client of one, built; None where there is no Go."""
    go = shutil.which("go")
    if go is None:
        return None
    program = folder / Path(part).name if part != "." else folder / "gowitness"
    subprocess.run([go, "build", "-mod=readonly", "-o", program, part], cwd=_SOURCE, check=True, timeout=900)
    return program


def fed(program: Path, url: str, old: int, note: bytes, proof: Sequence[bytes]) -> str:
    """What the client says of the answer."""
    file = program.with_name("note")
    file.write_bytes(note)
    hashes = [base64.b64encode(node).decode() for node in proof]
    line: list[str | Path] = [program, url, str(old), file, *hashes]
    return subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout


@contextmanager
def go_witness(program: Path, name: str, log_vkey: str) -> Iterator[GoWitness]:
    """A witness in memory, for this log."""
    process = subprocess.Popen(
        [program, name, log_vkey], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        vkey, port = (process.stdout.readline().strip() for _ in range(2))
        yield GoWitness(vkey, f"http://127.0.0.1:{int(port)}")
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()
