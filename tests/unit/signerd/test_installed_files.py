"""What the system refuses of an installation's files: whether it may pass, and what to do."""

from __future__ import annotations

import errno
import os

import pytest

from signerd.adapters.installed_files import told
from signerd.errors import ConfigError, NotNow


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM])
def test_what_may_pass_has_another_exit_code(number: int) -> None:
    passing = number in {errno.ENOSPC, errno.EROFS}
    with pytest.raises(ConfigError) as caught, told("write", "; do this"):
        raise OSError(number, os.strerror(number), "/etc/signerd-key/keyholder.toml")
    expected = f"cannot write /etc/signerd-key/keyholder.toml: {os.strerror(number)}; do this"
    assert (str(caught.value), isinstance(caught.value, NotNow)) == (expected, passing)
