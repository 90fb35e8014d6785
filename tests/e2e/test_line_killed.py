"""kill -9 of each program on a line of boards on ptys and a real token: every board is finished once."""

from __future__ import annotations

import pytest

from harness.factory import LINE, Factory, step_begun

pytestmark = pytest.mark.check

STEPS = [
    *("identify", "session", "keygen", "request", "sign", "install"),
    *("configure", "seal", "verify", "stamp", "record"),
]


@pytest.mark.parametrize("step", STEPS)
def test_agent_killed(factory: Factory, step: str) -> None:
    run = factory.new_run(boards=1, **LINE)
    agent = run.start_agent()
    step_begun(agent, step)
    agent.kill()
    assert run.start_agent().wait() == 0
    factory.finished_once(run)


@pytest.mark.parametrize("step", ["keygen", "sign", "install", "stamp", "record"])
def test_signerd_killed(factory: Factory, step: str) -> None:
    run = factory.new_run(boards=4, **LINE)
    agent = run.start_agent()
    step_begun(agent, step)
    factory.installation.process.kill()
    factory.installation.start_signerd()
    if agent.wait() != 0:  # it gave up on a board meanwhile: the operator starts it again
        assert run.start_agent().wait() == 0
    factory.finished_once(run)


@pytest.mark.parametrize("step", ["keygen", "sign", "stamp"])
def test_key_holder_killed(factory: Factory, step: str) -> None:
    run = factory.new_run(boards=4, **LINE)
    agent = run.start_agent()
    step_begun(agent, step)
    factory.installation.key_holder().kill()
    if agent.wait() != 0:
        assert run.start_agent().wait() == 0
    factory.finished_once(run)


def test_everything_verifies_after_all_that(factory: Factory) -> None:
    factory.verify()
