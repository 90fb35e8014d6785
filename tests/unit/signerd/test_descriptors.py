from __future__ import annotations

import resource

import pytest

from signerd.adapters.descriptors import A_KEY_HOLDER, LEAST_CONNECTIONS, RESERVE, connections_within_limit
from signerd.errors import ConfigError

OWN = RESERVE + A_KEY_HOLDER  # with one key holder
WANTED = 1000


class Limits:
    """The limit on open files of a process that may raise it, or may not."""

    def __init__(self, soft: int, hard: int, *, forbidden: Exception | None = None) -> None:
        self.soft, self.hard, self._forbidden = soft, hard, forbidden

    def get(self, _resource: int) -> tuple[int, int]:
        return self.soft, self.hard

    def set(self, _resource: int, limits: tuple[int, int]) -> None:
        if self._forbidden is not None:
            raise self._forbidden
        self.soft, self.hard = limits


def connections(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> int:
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    monkeypatch.setattr(resource, "setrlimit", limits.set)
    return connections_within_limit(WANTED, 1)


@pytest.mark.parametrize("hard", [WANTED + OWN, resource.RLIM_INFINITY])
def test_the_soft_limit_is_raised_as_far_as_is_needed(monkeypatch: pytest.MonkeyPatch, hard: int) -> None:
    limits = Limits(1024, hard)
    assert connections(monkeypatch, limits) == WANTED
    assert limits.soft == WANTED + OWN


def test_a_soft_limit_that_is_enough_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    forbidden = Limits(WANTED + OWN, WANTED + OWN, forbidden=AssertionError("not needed"))
    assert connections(monkeypatch, forbidden) == WANTED


def test_connections_are_lowered_to_the_hard_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connections(monkeypatch, Limits(512, 700)) == 700 - OWN


# Python makes EPERM, a service manager's filter of system calls, a ValueError.
@pytest.mark.parametrize("forbidden", [ValueError("not allowed to raise maximum limit"), OSError(38, "no")])
def test_connections_are_lowered_where_the_call_is_forbidden(
    monkeypatch: pytest.MonkeyPatch, forbidden: Exception
) -> None:
    assert connections(monkeypatch, Limits(700, 4096, forbidden=forbidden)) == 700 - OWN


def test_too_few_are_a_fault_of_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        connections(monkeypatch, Limits(OWN + LEAST_CONNECTIONS, OWN + LEAST_CONNECTIONS))
        == LEAST_CONNECTIONS
    )
    with pytest.raises(ConfigError, match="LimitNOFILE"):
        connections(monkeypatch, Limits(OWN + LEAST_CONNECTIONS - 1, OWN + LEAST_CONNECTIONS - 1))
