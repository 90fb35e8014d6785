"""The whole line by the real programs, boards on ptys and a real token."""

from __future__ import annotations

from harness.factory import LINE, Factory


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
