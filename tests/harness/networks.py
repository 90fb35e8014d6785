"""Networks of a test's own: a namespace with nothing but a loopback, and the rules that deploy/ ships."""

from __future__ import annotations

import os
import shutil
import subprocess

from harness.process import REPOSITORY

RULES = REPOSITORY / "deploy" / "nftables" / "signerd.nft"
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where Debian has ip and nft


def in_a_network_with_rules(*command: str) -> list[str]:
    """The command, inside."""
    script = f'PATH="{_PATH}"; ip link set lo up && nft -f "{RULES}" && exec "$0" "$@"'
    return ["unshare", "--net", "/bin/sh", "-c", script, *command]


def networks_of_our_own() -> str:
    """Why there are none here; an empty text if there are."""
    for tool in ("unshare", "ip", "nft"):
        if shutil.which(tool, path=_PATH) is None:
            return f"{tool} is not installed"
    done = subprocess.run(in_a_network_with_rules("true"), capture_output=True, text=True, check=False)
    return f"no network namespace with nftables here: {done.stderr.strip()}" if done.returncode else ""
