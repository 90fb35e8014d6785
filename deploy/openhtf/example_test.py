"""A functional test with provisioning as its last phase.

    python example_test.py --port /dev/ttyUSB0 --order WO-2026-001 --station agent.toml --out records

Leaves a record of the test as JSON in the folder. Exits with 0 only if the board passed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import openhtf
from birthmark_openhtf import CONF, provision_phase
from openhtf.output.callbacks import json_factory


@openhtf.measures(openhtf.Measurement("supply_v").in_range(3.2, 3.4))
def functional_test(test: openhtf.TestApi) -> None:
    """Stands for what your test measures: replace it."""
    test.measurements.supply_v = 3.3


def main() -> int:
    """Runs the test once."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", required=True)
    parser.add_argument("--order", required=True)
    parser.add_argument("--station", type=Path, required=True, help="agent.toml")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for provisioning")
    arguments = parser.parse_args()
    CONF.load(birthmark_config=str(arguments.station))
    phase = provision_phase(port=arguments.port, order=arguments.order, timeout_s=arguments.timeout)
    test = openhtf.Test(functional_test, phase, test_name="sensor")
    pattern = str(arguments.out / "{dut_id}.{metadata[test_name]}.{start_time_millis}.json")
    test.add_output_callbacks(json_factory.OutputToJSON(pattern, indent=2))
    return 0 if test.execute() else 1


if __name__ == "__main__":
    sys.exit(main())
