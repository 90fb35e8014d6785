"""Where results go is there: looked at by `doctor`, and before the first board."""

from __future__ import annotations

import shutil
from pathlib import Path

from agent.adapters.durable_files import try_folder
from agent.config import Results
from agent.errors import ConfigError, NotedError


def check_results(wanted: Results) -> str:
    """Says where they go.

    Raises:
        ConfigError: the folder takes no files.
        NotedError: the command is no program. Boards go on, and the first result says so.
    """
    folder, command = wanted.folder, wanted.command
    if folder is not None:
        _check_takes_files(folder)
    if command and shutil.which(command[0]) is None:
        detail = f"results.command: {command[0]} is no program that this account may run"
        raise NotedError(detail, remedy="Mend the key, or make the file executable (chmod +x).")
    return ", ".join(str(one) for one in (folder, command[0] if command else None) if one is not None)


def _check_takes_files(folder: Path) -> None:
    try:
        try_folder(folder)
    except OSError as error:
        detail = f"results.folder: {folder} takes no files: {error.strerror}"
        raise ConfigError(detail, remedy="Make it, give it to this account, or mend the key.") from error
