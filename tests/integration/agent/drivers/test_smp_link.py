"""The line to one board, on a pty: a question that is sent again until the board listens."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import AsyncIterator

import pytest
from smp import packet
from smp.header import OP

from agent.adapters.drivers import smp_messages as messages
from agent.adapters.drivers.smp_framing import LINE_LENGTH
from agent.adapters.drivers.smp_link import SmpLink
from agent.errors import LineError

BAUDRATE = 115_200
ANSWER_BYTES = 256
REPEAT_S = 0.02
QUESTION = messages.encode_request(OP.READ, messages.HELLO, 7, {})
ANSWER = bytes([QUESTION[0] + 1]) + QUESTION[1:]
QUESTION_WIRE, ANSWER_WIRE = (
    b"".join(packet.encode(message, LINE_LENGTH + 1)) for message in (QUESTION, ANSWER)
)


class DeafBoard:
    """Answers the question that comes after so many others, and counts them all."""

    def __init__(self, deaf_for: int) -> None:
        self._deaf_for = deaf_for
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        self._slave = slave
        self._heard = b""

    @property
    def questions(self) -> int:
        """Whole ones."""
        return self._heard.count(QUESTION_WIRE)

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._master, self._read)

    def _read(self) -> None:
        before = self.questions
        self._heard += os.read(self._master, 4096)
        if before <= self._deaf_for < self.questions:
            os.write(self._master, ANSWER_WIRE)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
async def board() -> AsyncIterator[DeafBoard]:
    board = DeafBoard(deaf_for=3)
    board.start()
    yield board
    board.close()


async def test_a_question_is_sent_again_until_the_board_listens(board: DeafBoard) -> None:
    link = SmpLink(board.port, BAUDRATE)
    assert await link.exchange(QUESTION, 10, ANSWER_BYTES, REPEAT_S) == ANSWER
    await link.close()


async def test_a_question_is_sent_once_where_nothing_else_is_said(board: DeafBoard) -> None:
    link = SmpLink(board.port, BAUDRATE)
    with pytest.raises(LineError, match="no_answer"):
        await link.exchange(QUESTION, 10 * REPEAT_S, ANSWER_BYTES)
    assert board.questions == 1
    await link.close()


async def test_a_question_that_is_repeated_ends_in_its_time() -> None:
    deaf = DeafBoard(deaf_for=1_000_000)
    deaf.start()
    link = SmpLink(deaf.port, BAUDRATE)
    with pytest.raises(LineError, match="no_answer"):
        await link.exchange(QUESTION, 10 * REPEAT_S, ANSWER_BYTES, REPEAT_S)
    assert deaf.questions > 1
    await link.close()
    deaf.close()
