"""The rules of deploy/nftables, in a network of its own: what an address may have; others get in."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness.networks import in_a_network_with_rules, networks_of_our_own

pytestmark = pytest.mark.check

# Within the network: a listener that accepts and says nothing, and two who connect. Prints what came of it.
SCRIPT = """
import json, selectors, socket, sys, threading
server = socket.create_server(("0.0.0.0", 8443), backlog=512)
kept = []
def accept():
    while True:
        kept.append(server.accept()[0])
threading.Thread(target=accept, daemon=True).start()
def connect(source, timeout_s):
    line = socket.socket()
    line.settimeout(timeout_s)
    line.bind((source, 0))
    try:
        line.connect(("127.0.0.1", 8443))
    except (TimeoutError, OSError) as error:
        return type(error).__name__
    kept.append(line)
    return "open"
at_once = [connect("127.0.1.1", 0.05) for _ in range(60)]
other = [connect("127.0.1.2", 0.5) for _ in range(20)]
slowly = 0
outcomes = []
import time
while len(outcomes) < 80 and "ConnectionRefusedError" not in outcomes:
    outcomes.append(connect("127.0.1.1", 3.0))
    time.sleep(0.2)
json.dump({"at_once": at_once.count("open"), "other": other.count("open"),
           "slowly": outcomes.count("open"), "then": outcomes[-1]}, sys.stdout)
"""


def test_an_address_opens_no_more_than_the_rules_allow_and_others_get_in() -> None:
    if missing := networks_of_our_own():
        pytest.skip(missing)
    command = in_a_network_with_rules(sys.executable, "-c", SCRIPT)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 25 <= found["at_once"] <= 50  # thirty, and five for each second that it took
    assert found["other"] == 20
    assert found["then"] == "ConnectionRefusedError"
    assert found["at_once"] + found["slowly"] <= 64 + 1
