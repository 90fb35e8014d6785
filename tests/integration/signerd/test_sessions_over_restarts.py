"""Sessions outlive a restart of signerd within their life, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from birthmark.v1 import signing_pb2
from harness.hostile_line import HostileLine
from harness.installation import Installation

pytestmark = pytest.mark.check


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileLine]:
    with Installation(tmp_path_factory.mktemp("line")) as installation:
        line = HostileLine(installation)
        yield line
        line.close()


def restarted(line: HostileLine) -> None:
    line.installation.process.stop()
    line.installation.start_signerd()
    line.reconnect()


def test_a_session_of_before_a_restart_is_used_once(line: HostileLine) -> None:
    order, genuine = line.open_order(quantity=2), line.board()
    session = line.pc1.open(order, genuine.chip_id)
    restarted(line)
    csr, evidence = genuine.request(session.challenge)
    signed = line.pc1.sign(session, csr, evidence)
    restarted(line)
    assert line.pc1.sign(session, csr, evidence).certificate_der == signed.certificate_der
    other = line.board()
    line.refused("session_used", lambda: line.pc1.sign(session, *other.request(session.challenge)))
    line.pc1.stamp(genuine, session, signed)
    line.verify()


def test_a_restart_makes_no_forged_session_good(line: HostileLine) -> None:
    order, genuine = line.open_order(), line.board()
    session = line.pc1.open(order, genuine.chip_id)
    restarted(line)
    forged = signing_pb2.OpenSessionResponse(
        session=session.session[:-1] + bytes([session.session[-1] ^ 1]), challenge=session.challenge
    )
    line.refused("session_unknown", lambda: line.pc1.sign(forged, *genuine.request(session.challenge)))
    line.refused(
        "session_unknown", lambda: line.pc2.sign(session, *genuine.request(session.challenge)), peer="pc2"
    )
    assert line.pc1.sign(session, *genuine.request(session.challenge)).certificate_der
