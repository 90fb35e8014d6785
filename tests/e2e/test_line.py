"""The whole line by the real programs, boards on ptys and a real token; and kill -9 of each program."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.factory import Factory, step_begun

STEPS = [
    *("identify", "session", "keygen", "request", "sign", "install"),
    *("configure", "seal", "verify", "stamp", "record"),
]
# A line of 115,200 baud and a key that takes a moment: every step lasts long enough to be met.
LINE = {"baud": 115_200, "keygen_seconds": 0.3, "buffer": 512}


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with Factory(tmp_path_factory.mktemp("factory")) as factory:
        yield factory


def test_four_boards_at_once(factory: Factory) -> None:
    run = factory.new_run(boards=4, **LINE)
    assert run.start_agent().wait() == 0
    factory.finished_once(run)
    assert all(run.farm.view(board.number).sealed for board in run.farm.boards)
    factory.verify()


def test_boards_that_are_done_stay_as_they_are(factory: Factory) -> None:
    run = factory.new_run(boards=2, **LINE)
    assert run.start_agent().wait() == 0
    before = [record.SerializeToString() for record in factory.records(run)]
    assert run.start_agent().wait() == 0
    assert [record.SerializeToString() for record in factory.records(run)] == before


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
