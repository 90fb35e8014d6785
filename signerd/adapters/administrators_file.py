"""The file of administrators' keys that the settings name."""

from __future__ import annotations

from signerd.adapters.start_faults import unreadable
from signerd.config import Keys
from signerd.core.approval.administrators import MAX_FILE, AdministratorSet, parse_administrators
from signerd.core.approval.errors import ApprovalError
from signerd.errors import ConfigError


def read_administrators(config: Keys) -> AdministratorSet | None:
    """Who is to be asked, as the settings say; None where they do not.

    Raises:
        ConfigError: the file cannot be read, a line of it is wrong, or the threshold is beyond it.
    """
    settings = config.approvals
    if settings is None:
        return None
    path = settings.administrators
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE + 1).decode("utf-8")
        return AdministratorSet(settings.threshold, parse_administrators(text, config.deployment))
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"approvals.administrators: {path} is not UTF-8") from error
    except ApprovalError as error:
        raise ConfigError(f"approvals.administrators: {path}: {error}") from error
