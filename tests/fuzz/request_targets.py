"""Whole requests: protobuf bytes through the fields' bounds into the steps of issuance, over a real store.

A session is sealed, so hardly any mutated one is one. A session of the one byte `*` stands for a genuine
one, so that the other fields are reached.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from birthmark.v1 import signing_pb2 as pb
from harness.issuance_world import IssuanceWorld, issuance_world
from harness.paper_board import PaperBoard
from signerd.adapters.rpc.signing import SigningService
from signerd.errors import Refused
from signerd.seen_checkpoints import SeenCheckpoints

Runner = Callable[[bytes], None]
Seeds = Callable[[], list[bytes]]


T = TypeVar("T")
RequestT = TypeVar("RequestT", pb.SignCsrRequest, pb.RecordStampRequest)
_GENUINE = b"*"


class _Line:
    """A signerd without network, for as long as the program runs."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self._folder = tempfile.TemporaryDirectory()  # removed with this object
        entered = self._stack.enter_async_context(issuance_world(Path(self._folder.name)))
        self.world: IssuanceWorld = self.run(entered)
        self.order = self.run(self.world.open_order())
        issuance = self.world.issuance
        self._genuine: pb.SignCsrRequest | None = None
        self._stamped: pb.RecordStampRequest | None = None
        self.service = SigningService(
            issuance, self.world.stamping, issuance._sealer, SeenCheckpoints(self.world.store)
        )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._loop.close()

    def open(self, board: PaperBoard) -> pb.OpenSessionResponse:
        request = pb.OpenSessionRequest(work_order=self.order, chip_id=board.chip_id)
        return self.run(self.service.open_session(self.world.pc1, request))

    def sign_request(self, board: PaperBoard, opened: pb.OpenSessionResponse) -> pb.SignCsrRequest:
        csr, evidence = board.request(opened.challenge)
        return pb.SignCsrRequest(session=opened.session, csr_der=csr, evidence=evidence)

    def genuine(self) -> pb.SignCsrRequest:
        """Of one board, whose session all the mutated requests share."""
        if self._genuine is None:
            board = self.world.board()
            self._genuine = self.sign_request(board, self.open(board))
        return self._genuine

    def stamped(self) -> pb.RecordStampRequest:
        """Of one certified board."""
        if self._stamped is None:
            self._stamped = self.stamp_request()
        return self._stamped

    def stamp_request(self) -> pb.RecordStampRequest:
        board = self.world.board()
        opened = self.open(board)
        signed = self.run(self.service.sign_csr(self.world.pc1, self.sign_request(board, opened)))
        stamp, signature = board.stamp(
            opened.challenge, signed.serial_number, signed.certificate_der, signed.settings
        )
        return pb.RecordStampRequest(session=opened.session, stamp=stamp, signature=signature)


@cache
def _line() -> _Line:
    return _Line()


def close_line() -> None:
    """Ends the signerd that the targets made, if they made one."""
    if _line.cache_info().currsize:
        _line().close()
        _line.cache_clear()


def _open(data: bytes) -> None:
    line = _line()
    try:
        line.run(line.service.open_session(line.world.pc1, pb.OpenSessionRequest.FromString(data)))
    except (DecodeError, Refused):
        return


def _sign(data: bytes) -> None:
    line = _line()
    try:
        request = pb.SignCsrRequest.FromString(data)
        if request.session == _GENUINE:
            request.session = line.genuine().session
        line.run(line.service.sign_csr(line.world.pc1, request))
    except (DecodeError, Refused):
        return


def _stamp(data: bytes) -> None:
    line = _line()
    try:
        request = pb.RecordStampRequest.FromString(data)
        if request.session == _GENUINE:
            request.session = line.stamped().session
        line.run(line.service.record_stamp(line.world.pc1, request))
    except (DecodeError, Refused):
        return


def _open_seeds() -> list[bytes]:
    line = _line()
    chip_id = line.world.board().chip_id
    return [pb.OpenSessionRequest(work_order=line.order, chip_id=chip_id).SerializeToString()]


def _sign_seeds() -> list[bytes]:
    line = _line()
    board = line.world.board()
    whole = line.sign_request(board, line.open(board))
    return [whole.SerializeToString(), _with_genuine_session(line.genuine()).SerializeToString()]


def _stamp_seeds() -> list[bytes]:
    line = _line()
    return [line.stamped().SerializeToString(), _with_genuine_session(line.stamped()).SerializeToString()]


def _with_genuine_session(request: RequestT) -> RequestT:
    changed = copy(request)
    changed.session = _GENUINE
    return changed


TARGETS: dict[str, tuple[Runner, Seeds]] = {
    "open-session": (_open, _open_seeds),
    "sign-csr": (_sign, _sign_seeds),
    "record-stamp": (_stamp, _stamp_seeds),
}
