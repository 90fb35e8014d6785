"""A driver raised what no driver may raise: the board gets its verdict, and the log where it happened."""

from __future__ import annotations

import logging
from typing import TypeGuard

from agent.errors import AgentError, DriverFaultError

_LOG = logging.getLogger(__name__)


def is_known(failure: BaseException) -> TypeGuard[AgentError]:
    """False for what no driver may raise, also where it is a `DriverFaultError` already."""
    return isinstance(failure, AgentError) and not isinstance(failure, DriverFaultError)


def driver_fault(
    failure: BaseException, port: str, chip_id: str = "", *, log: bool = True
) -> DriverFaultError:
    """The fault of a driver that raised `failure`. With `log`, its traceback goes to the log."""
    if isinstance(failure, DriverFaultError):
        fault, cause = failure, failure.__cause__ or failure
    else:
        fault, cause = DriverFaultError(type(failure).__name__), failure
        fault.__cause__ = failure
    if log:
        fields = {"port": port, "chip_id": chip_id, "code": fault.code, "detail": fault.detail}
        _LOG.error("driver_fault", exc_info=cause, extra={"fields": fields})
    return fault
