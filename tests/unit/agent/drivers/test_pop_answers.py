"""Answers to `pop`: the code is taken, and no error over a malformed one shows what the board said."""

from __future__ import annotations

import traceback
from typing import Any

import cbor2
import pytest
from smp.header import OP, Flag, Header, Version

from agent.adapters.drivers.smp_messages import GROUP, POP, PopAnswer, parse_answer, proof_of_possession
from agent.core.pop import ProofOfPossession
from agent.errors import BoardError

CODE = "K7QW-3XRM"
SALT = bytes(range(16))


def _answer(body: Any) -> bytes:
    payload = cbor2.dumps(body)
    return Header(OP.READ_RSP, Version.V2, Flag.UNUSED, len(payload), GROUP, 1, POP).BYTES + payload


def _taken(body: Any) -> ProofOfPossession:
    return proof_of_possession(parse_answer(_answer(body), PopAnswer))


def test_a_code_is_taken() -> None:
    pop = _taken({"pop": CODE, "salt": SALT})
    assert (pop.code, pop.salt) == (CODE, SALT)
    shown = repr(pop) + repr(PopAnswer(pop=CODE, salt=SALT))
    assert CODE not in shown
    assert repr(SALT) not in shown


@pytest.mark.parametrize(
    "body",
    [
        {"pop": CODE.encode(), "salt": SALT},
        {"pop": [CODE], "salt": SALT},
        {"pop": {CODE: CODE}, "salt": SALT},
        {"pop": CODE, "salt": CODE},
        {"pop": CODE, "salt": SALT[:15]},
        {"pop": CODE, "salt": SALT + b"x"},
        {"pop": CODE},
        {"pop": f"{CODE} ", "salt": SALT},
        {"pop": f"{CODE}ü", "salt": SALT},
        {"pop": CODE * 8, "salt": SALT},
        [CODE],
        CODE,
    ],
    ids=[
        *("bytes", "list", "map", "salt-is-text", "salt-short", "salt-long", "no-salt"),
        *("space", "not-ascii", "long", "no-map", "text"),
    ],
)
def test_no_error_shows_the_code(body: Any) -> None:
    with pytest.raises(BoardError) as refusal:
        _taken(body)
    assert refusal.value.code == "bad_answer"
    error: BaseException | None = refusal.value
    while error is not None:  # what caused it too: a crash would print it
        assert CODE not in "".join(traceback.format_exception_only(error)) + repr(error)
        error = error.__cause__ or error.__context__
    assert CODE not in refusal.value.detail + refusal.value.remedy
