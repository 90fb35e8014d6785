"""One side of `bench.cpu_a_board`: an installation of the tree on PYTHONPATH, and what its signerd spends.

    python tests/bench/cpu_side.py FOLDER BOARDS ROUNDS

Says `ready`, then answers each line of standard input with the CPU milliseconds that signerd and its key
holder spent on one board, over BOARDS of them. It is run against older trees too: it may ask of `harness` and
`bench` only what stood there when the first of those commits was made.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psutil

from bench.jobs import lift_rate_limits, run_job
from bench.run import WARM_UP
from harness.installation import SENSOR, Installation, order_toml

_AT_ONCE = 16
_ORDER = "WO-cpu"


def main() -> None:
    """See the module."""
    folder, boards, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with Installation(folder) as installation:
        lift_rate_limits(installation.config)
        installation.start_signerd()
        installation.add_product(SENSOR)
        station = installation.add_station("plant1", "pc1")
        count = rounds * (boards + WARM_UP)
        chips = [
            (chip, key.hex())
            for chip, key in installation.personalize([f"cpu-{number}" for number in range(count)]).items()
        ]
        terms = order_toml(_ORDER, quantity=count, stations=[station.uri], serial_pattern="cpu-{number:06d}")
        installation.open_order(terms)
        job = {
            "target": installation.target,
            "ca": station.operations_ca_file.read_text(encoding="ascii"),
            "key": station.key_file.read_text(encoding="ascii"),
            "certificate": station.certificate_file.read_text(encoding="ascii"),
            "work_order": _ORDER,
            "runs": [("boards", _AT_ONCE, boards)],
        }
        print("ready", flush=True)
        for _ in sys.stdin:
            now, chips = chips[: boards + WARM_UP], chips[boards + WARM_UP :]
            before = _cpu_s(installation)
            run_job("bench.signerd_load", job | {"chips": now})
            print(json.dumps(1000 * (_cpu_s(installation) - before) / len(now)), flush=True)


def _cpu_s(installation: Installation) -> float:
    """Of signerd and the processes that it started and that still run."""
    signerd = psutil.Process(installation.process.pid)
    return sum(
        process.cpu_times().user + process.cpu_times().system
        for process in (signerd, *signerd.children(recursive=True))
    )


if __name__ == "__main__":
    main()
