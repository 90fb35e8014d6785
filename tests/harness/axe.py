"""axe-core: rules of accessibility (WCAG 2) over what a browser shows. npm fetches it once, by its hash."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome

from tokens import presence

_NAMED = Path(__file__).resolve().parents[1] / "axe"  # package.json and what it locks
_KEPT = Path(__file__).resolve().parents[2] / "var" / "axe"
_RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
_RUN = """
const done = arguments[arguments.length - 1];
const options = {runOnly: {type: 'tag', values: arguments[0]}, resultTypes: ['violations', 'incomplete']};
const told = (node) => `${node.target.join(' ')} ${node.failureSummary}`;
axe.run(document, options).then(
  (found) => done([...found.violations, ...found.incomplete].map(
    (rule) => `${rule.id}: ${rule.nodes.map(told).join(' | ')}`)),
  (error) => done([String(error)]));
"""


def axe_source() -> str:
    """The library. Skips where npm is not installed, or reaches nothing; in CI neither is taken."""
    presence.skip(presence.missing("axe-core", npm=presence.program("npm")))
    lock = (_NAMED / "package-lock.json").read_bytes()
    folder = _KEPT / hashlib.sha256(lock).hexdigest()[:16]
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.copytree(_NAMED, fresh, dirs_exist_ok=True)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        ended = subprocess.run(command, cwd=fresh, capture_output=True, text=True, timeout=120, check=False)
        if ended.returncode != 0:
            presence.skip(f"npm ci fetches no axe-core: {ended.stderr[-300:]}")
        shutil.rmtree(folder, ignore_errors=True)
        fresh.replace(folder)
    return script.read_text(encoding="utf-8")


def findings(browser: Chrome, source: str) -> list[Any]:
    """What breaks a rule, and what axe cannot decide."""
    browser.execute_script(source)
    return list(browser.execute_async_script(_RUN, list(_RULES)))
