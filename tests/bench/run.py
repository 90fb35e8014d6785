"""`make bench`: the figures, all from one run on one machine, into var/bench.json and a table.

Figures on different machines do not compare; ratios within one run do. Rate limits are lifted for the run,
everything else is as `signerd init --dev` makes it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from rich.console import Console

from bench import cfssl_server
from bench.audit import measure_audit
from bench.cpu_a_board import measure_cpu_a_board
from bench.esp32 import run_esp32
from bench.jobs import lift_rate_limits, run_job
from bench.line import run_lines
from bench.memory import resident_mb
from bench.report import print_report
from bench.slow_token import run_slow_token
from demo.evidence_folder import collect
from harness.installation import SENSOR, Installation, Peer, order_toml
from harness.process import REPOSITORY

FOLDER = REPOSITORY / "var" / "bench"
RESULT = REPOSITORY / "var" / "bench.json"
WARM_UP = 50  # as in signerd_load
RUNS = [
    (what, at_once, operations)
    for at_once, operations in ((1, 300), (16, 2000), (64, 3000))
    for what in ("sign", "boards")
]
CFSSL_RUNS = [(1, 500), (16, 3000), (64, 3000)]
RECORDS = 100_000
RUNS_WITH_RECORDS = [("boards", 64, 1000)]
LINES = (1, 4, 16)
COMPARED = 3_000


def main() -> None:
    """Measures, prints, writes."""
    console = Console(highlight=False)
    shutil.rmtree(FOLDER, ignore_errors=True)
    result: dict[str, Any] = {
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.platform(),
        }
    }
    with Installation(FOLDER) as installation:
        lift_rate_limits(installation.config)
        installation.start_signerd()
        installation.add_product(SENSOR)
        station = installation.add_station("plant1", "pc1")
        auditor = installation.add_auditor("bench")
        console.print("boards one after another and side by side, on simulated lines …")
        result["line"] = run_lines(installation, station, LINES)
        console.print("signerd under load …")
        result["signerd"] = measure_signerd(installation, station, "load", RUNS)
        result["cfssl"] = measure_cfssl(console)  # beside signerd also in time
        certificate = any_certificate(installation, auditor)
        console.print(f"filling signerd with {RECORDS} records …")
        result["memory"] = measure_memory(installation, station)
        installation.process.stop()
        console.print("the token alone …")
        job = {"config": str(installation.config), "certificate": certificate}
        result["token"] = run_job("bench.token_rate", job)
    console.print("CPU a board, beside an earlier commit …")
    result["cpu_a_board"] = measure_cpu_a_board(FOLDER / "cpu")
    console.print("rows compared with the ledger …")
    result["comparison"] = run_job("bench.comparison", {"boards": COMPARED})
    console.print("the key holder as a service, beside one that is a child …")
    result["service"] = run_job("bench.service", {"folder": str(FOLDER / "service")})
    console.print("a token that takes long …")
    result["slow_token"] = run_slow_token(FOLDER / "slow")
    console.print("ESP32 boards on simulated chips …")
    result["esp32"] = run_esp32(FOLDER / "esp32")
    console.print("an audit of many boards …")
    result["audit"] = measure_audit(FOLDER / "audit")
    console.print("evidence …")
    result["evidence"] = run_job("bench.evidence_rate", {})
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print_report(result, console)
    console.print(f"\nwritten to {RESULT.relative_to(REPOSITORY)}")


def measure_signerd(
    installation: Installation, station: Peer, name: str, runs: Sequence[tuple[str, int, int]]
) -> Any:
    """`SignCsr` and complete boards, on chips and a work order of this name."""
    count = sum(operations + WARM_UP for _, _, operations in runs)
    keys = installation.personalize([f"{name}-{number}" for number in range(count)])
    work_order = f"WO-{name}"
    terms = order_toml(
        work_order, quantity=count, stations=[station.uri], serial_pattern=f"{name}-{{number:06d}}"
    )
    installation.open_order(terms)
    job = {
        "target": installation.target,
        "ca": station.operations_ca_file.read_text(encoding="ascii"),
        "key": station.key_file.read_text(encoding="ascii"),
        "certificate": station.certificate_file.read_text(encoding="ascii"),
        "work_order": work_order,
        "chips": [(chip, key.hex()) for chip, key in keys.items()],
        "runs": runs,
    }
    return run_job("bench.signerd_load", job)


def any_certificate(installation: Installation, auditor: Peer) -> str:
    """A certificate that was issued, DER as hexadecimal: for the key holder to sign again."""
    folder = FOLDER / "collected"
    folder.mkdir()
    path = next(iter(collect(installation, auditor, folder).certificates.values()))
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER).hex()


def measure_memory(installation: Installation, station: Peer) -> dict[str, Any]:
    """Restarts signerd with many records, and puts load on it."""
    terms = order_toml(
        "WO-fill", quantity=RECORDS, stations=[station.uri], serial_pattern="fill-{number:06d}"
    )
    installation.open_order(terms)
    installation.process.stop()
    job = {
        "config": str(installation.config),
        "station": station.uri,
        "work_order": "WO-fill",
        "count": RECORDS,
    }
    run_job("bench.fill_records", job)
    begun = time.monotonic()
    installation.start_signerd()
    seconds = time.monotonic() - begun
    started = resident_mb(installation)
    loaded = measure_signerd(installation, station, "full", RUNS_WITH_RECORDS)
    return {
        "records": RECORDS,
        "start_s": round(seconds, 2),
        "after_start": started,
        "under_load": loaded,
        "after_load": resident_mb(installation),
    }


def measure_cfssl(console: Console) -> Any:
    """cfssl on the same machine, or None where it cannot be had."""
    if not cfssl_server.installed():
        console.print("cfssl is not installed (Debian: golang-cfssl): nothing to compare with")
        return None
    console.print("cfssl under load …")
    with cfssl_server.running(FOLDER / "cfssl") as server:
        job = {
            "port": server.port,
            "ca_file": str(server.ca_file),
            "client_certificate": str(server.client_certificate),
            "client_key": str(server.client_key),
            "runs": CFSSL_RUNS,
        }
        return run_job("bench.cfssl_load", job)


if __name__ == "__main__":
    main()
