"""`run` where no port is there: it ends and says so where none can come, and waits where one is named."""

from __future__ import annotations

from typing import Any

import pytest

from agent import wiring
from agent.adapters.checks import ports
from agent.adapters.cli.options import exit_code
from agent.adapters.line.serial_port import list_ports
from agent.adapters.line.watch import Plan
from agent.config import Config
from agent.errors import AgentError, ConfigError


class OpenedError(Exception):
    """The station would go on from here."""


@pytest.fixture(autouse=True)
def no_port_but(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No adapter is plugged in, and nothing is opened; notices come into the list."""

    def opened(*_: Any) -> Any:
        raise OpenedError

    monkeypatch.setattr(ports, "list_ports", lambda patterns, discover: list_ports(patterns, discover=False))  # noqa: ARG005
    monkeypatch.setattr(wiring, "open_line", opened)
    return []


async def _run(named: tuple[str, ...], notices: list[str], *, once: bool = False) -> None:
    config = Config.model_construct(ports=())
    plan = Plan("WO-1", once=once)
    await wiring.run_ports(config, named, plan, lambda _event: None, notice=notices.append)


@pytest.mark.parametrize("once", [False, True])
async def test_no_port_is_there_and_none_is_named(no_port_but: list[str], once: bool) -> None:
    with pytest.raises(AgentError) as refused:
        await _run((), no_port_but, once=once)
    assert "no serial port" in refused.value.detail
    assert "--port" in refused.value.remedy
    assert exit_code(refused.value) == 3


@pytest.mark.parametrize("name", ["/dev/nope", "/dev/nope*"])
async def test_one_that_is_named_is_said_once_and_waited_for(no_port_but: list[str], name: str) -> None:
    with pytest.raises(OpenedError):
        await _run((name,), no_port_but)
    (notice,) = no_port_but
    assert notice.startswith(f"no serial port is called {name}: waiting for it.")


@pytest.mark.parametrize("name", ["/dev/nope", "/dev/nope*"])
async def test_one_board_a_port_and_no_port(no_port_but: list[str], name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        await _run((name,), no_port_but, once=True)
    assert name in refused.value.detail
    assert refused.value.remedy
    assert no_port_but == []
    assert exit_code(refused.value) == 3
