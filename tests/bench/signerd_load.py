"""A load generator for signerd: stations that each keep one mTLS connection, boards made beforehand.

Reads its job as JSON from standard input, writes its result as JSON to standard output.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc

from bench.timing import Rate, measure
from birthmark.v1 import signing_pb2 as pb
from birthmark.v1 import signing_pb2_grpc as rpc
from harness.paper_board import PaperBoard

WARM_UP = 50
CONNECTIONS = 8  # a line has some stations, not one for each board


@dataclass(frozen=True, slots=True)
class Prepared:
    """A board with a session and a request: all that is left is the call."""

    board: PaperBoard
    csr: bytes


class Line:
    """Boards of one work order over some connections."""

    def __init__(self, stubs: Sequence[rpc.SigningServiceAsyncStub], work_order: str) -> None:
        self._stubs = stubs
        self._work_order = work_order
        self._seen = b""  # the newest checkpoint, which a station sends with each session

    async def open(self, prepared: Prepared, worker: int) -> pb.OpenSessionResponse:
        """`OpenSession`."""
        request = pb.OpenSessionRequest(
            work_order=self._work_order, chip_id=prepared.board.chip_id, seen_checkpoint=self._seen
        )
        return await self._stub(worker).OpenSession(request)

    async def sign(self, request: pb.SignCsrRequest, worker: int) -> pb.SignCsrResponse:
        """`SignCsr`."""
        return await self._stub(worker).SignCsr(request)

    async def board(self, prepared: Prepared, worker: int) -> None:
        """The three calls of a whole board, with the board's own signatures between them."""
        session = await self.open(prepared, worker)
        issued = await self.sign(sign_request(prepared, session), worker)
        stamp, signature = prepared.board.stamp(
            session.challenge, issued.serial_number, issued.certificate_der, issued.settings
        )
        recorded = await self._stub(worker).RecordStamp(
            pb.RecordStampRequest(session=session.session, stamp=stamp, signature=signature)
        )
        self._seen = recorded.receipt.partition(b"\n\n")[2]

    def _stub(self, worker: int) -> rpc.SigningServiceAsyncStub:
        return self._stubs[worker % len(self._stubs)]


def sign_request(prepared: Prepared, session: pb.OpenSessionResponse) -> pb.SignCsrRequest:
    """The request with evidence over this session's challenge."""
    evidence = prepared.board.evidence_for(session.challenge, prepared.csr)
    return pb.SignCsrRequest(session=session.session, csr_der=prepared.csr, evidence=evidence)


async def measure_sign(line: Line, boards: Sequence[Prepared], at_once: int) -> Rate:
    """`SignCsr` alone: sessions and evidence are made before the clock starts."""
    requests: list[pb.SignCsrRequest] = []

    async def prepare(prepared: Prepared, worker: int) -> None:
        requests.append(sign_request(prepared, await line.open(prepared, worker)))

    async def sign(request: pb.SignCsrRequest, worker: int) -> None:
        await line.sign(request, worker)

    await measure(boards, prepare, at_once=16)
    await measure(requests[:WARM_UP], sign, at_once=at_once)
    return await measure(requests[WARM_UP:], sign, at_once=at_once)


async def measure_boards(line: Line, boards: Sequence[Prepared], at_once: int) -> Rate:
    """Complete boards: `OpenSession`, `SignCsr`, `RecordStamp`."""
    await measure(boards[:WARM_UP], line.board, at_once=at_once)
    return await measure(boards[WARM_UP:], line.board, at_once=at_once)


async def load(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs the job's measurements one after another, each with boards of its own."""
    keys = {chip_id: bytes.fromhex(key) for chip_id, key in job["chips"]}
    boards = iter([Prepared(board, board.csr()) for board in (PaperBoard(*chip) for chip in keys.items())])
    credentials = grpc.ssl_channel_credentials(
        job["ca"].encode("ascii"), job["key"].encode("ascii"), job["certificate"].encode("ascii")
    )
    results = []
    async with AsyncExitStack() as stack:
        channels = [
            # Without an option of its own, gRPC would put all of them on one connection.
            await stack.enter_async_context(
                grpc.aio.secure_channel(
                    job["target"], credentials, options=[("grpc.use_local_subchannel_pool", 1)]
                )
            )
            for _ in range(CONNECTIONS)
        ]
        line = Line([rpc.SigningServiceStub(channel) for channel in channels], job["work_order"])
        for what, at_once, operations in job["runs"]:
            batch = [next(boards) for _ in range(operations + WARM_UP)]
            run = {"sign": measure_sign, "boards": measure_boards}[what]
            results.append({"what": what, **(await run(line, batch, at_once)).as_json()})
    return results


if __name__ == "__main__":
    json.dump(asyncio.run(load(json.load(sys.stdin))), sys.stdout)
