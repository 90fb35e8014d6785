"""What commands say before there is an installation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.process import run
from harness.signerd_commands import SIGNERD


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['signerd', '--help']\n"
        "from signerd.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'grpc', 'sqlalchemy', 'cryptography', 'pkcs11', 'pkilint'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    run([SIGNERD, "order", "list", "-c", tmp_path / "none.toml"], expect=3)
