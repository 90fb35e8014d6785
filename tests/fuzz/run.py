"""Coverage-guided fuzzing of one target: `make fuzz TARGET=csr SECONDS=600`.

Ends with an error and leaves the input in var/fuzz/<target>/ when a target raises anything but a domain
error, takes longer than 10 s for one input, or needs more than 200 MB in all. What reached new code is
kept in var/fuzz/<target>/corpus and used in the next run, beside tests/fuzz/corpus/<target>.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import atheris

MEMORY_MB = 200  # of the whole process
SECONDS_AN_INPUT = 10
MAX_INPUT = 65_536  # bytes: more than any field may have
HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzz", description="Fuzzes one target")
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=600)
    arguments = parser.parse_args()
    with atheris.instrument_imports(include=["signerd", "agent.core", "cbor2", "birthmark"]):
        from fuzz.targets import TARGETS  # noqa: PLC0415 (instrumented while it is imported)

    if arguments.target not in TARGETS:
        parser.error(f"no target {arguments.target!r}; known: {', '.join(sorted(TARGETS))}")
    target = TARGETS[arguments.target]
    results = Path("var/fuzz") / arguments.target
    corpus = results / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    options = [
        f"-max_total_time={arguments.seconds}",
        f"-timeout={SECONDS_AN_INPUT}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-max_len={MAX_INPUT}",
        f"-artifact_prefix={results}/",
        "-print_final_stats=1",
    ]
    committed = HERE / "corpus" / arguments.target
    folders = [str(corpus), *([str(committed)] if committed.is_dir() else [])]
    atheris.Setup([sys.argv[0], *options, *folders], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
