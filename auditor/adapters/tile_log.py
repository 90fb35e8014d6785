"""A published log as a source of entries: C2SP tlog-tiles in a folder, or at an HTTP address.

    log = TileLog("/srv/log")                        # or https://log.example/signerd/
    Audit(log, ...)

Proofs are computed from its tiles, and verified as signerd's are. Records are no part of tiles.
"""

from __future__ import annotations

import http.client
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from auditor.adapters.tile_folder import read_bounded, read_checkpoint, tile_folder
from auditor.core.proofs import claimed_checkpoint
from auditor.errors import ConfigError, Malformed, NotFound, Unreachable
from auditor.ports import OrderTerms, RecordPage, RecordWithChain
from birthmark.proof import ProofError, Reason, TileTree
from birthmark.proof.note import MAX_NOTE_BYTES
from birthmark.proof.succession import MAX_SUCCESSION_BYTES, SUCCESSION_PATH
from birthmark.proof.tile import CHECKPOINT_PATH, MAX_BUNDLE_BYTES, Read, parse_path

DEADLINE_S = 60.0  # for one file
_Checkpoint = Callable[[], bytes]


class TileLog:
    """`auditor.ports.Log`, without records."""

    has_records = False

    def __init__(self, place: str) -> None:
        """Raises ConfigError: neither a folder nor an address."""
        self._read: Read
        if place.startswith(("http://", "https://")):
            self._read, self._checkpoint = _address(place)
            address = f"{place.rstrip('/')}/{SUCCESSION_PATH}"
            self._succession: Callable[[], bytes | None] = lambda: _get(address, MAX_SUCCESSION_BYTES)
        elif "://" in place:
            raise ConfigError(f"{place}: give a folder, or an address that begins with https:// or http://")
        else:
            folder = Path(place)
            self._read = tile_folder(folder)
            self._checkpoint = lambda: read_checkpoint(folder / CHECKPOINT_PATH)
            self._succession = lambda: read_bounded(folder / SUCCESSION_PATH, MAX_SUCCESSION_BYTES)
        self._size = 0  # of the checkpoint that was read last

    def checkpoint(self) -> bytes:
        """See `auditor.ports.Log`."""
        data = self._checkpoint()
        origin = data.partition(b"\n")[0].decode("utf-8", "replace")
        self._size = claimed_checkpoint(data, origin).size
        return data

    def succession(self) -> bytes:
        """See `auditor.ports.Log`."""
        return self._succession() or b""

    def consistency_proof(self, old_size: int, new_size: int) -> Sequence[bytes]:
        """See `auditor.ports.Log`."""
        with _translated():
            return TileTree(new_size, self._read).consistency_proof(old_size)

    def inclusion_proof(self, index: int, size: int) -> Sequence[bytes]:
        """See `auditor.ports.Log`."""
        with _translated():
            return TileTree(size, self._read).inclusion_proof(index)

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """See `auditor.ports.Log`."""
        with _translated():
            yield from TileTree(max(end, self._size), self._read).entries(start, end)

    def records(self, after_record_id: int, *, intents: bool = False, work_order: str = "") -> RecordPage:  # noqa: ARG002
        """See `auditor.ports.Log`."""
        _no_records()

    def record(self, certificate_sha256: bytes) -> RecordWithChain:  # noqa: ARG002
        """See `auditor.ports.Log`."""
        _no_records()

    def order(self, work_order: str) -> OrderTerms:  # noqa: ARG002
        """See `auditor.ports.Log`."""
        _no_records()


def _no_records() -> NoReturn:
    raise NotFound("tiles have no records: ask signerd")


def _address(base: str) -> tuple[Read, _Checkpoint]:
    def read(path: str) -> bytes | None:
        parse_path(path)
        return _get(f"{base.rstrip('/')}/{path}", MAX_BUNDLE_BYTES)

    def checkpoint() -> bytes:
        data = _get(f"{base.rstrip('/')}/{CHECKPOINT_PATH}", MAX_NOTE_BYTES)
        if data is None:
            raise Unreachable(
                f"{base} has no {CHECKPOINT_PATH}: give the address that the log's tiles begin at"
            )
        return data

    return read, checkpoint


class _Redirects(urllib.request.HTTPRedirectHandler):
    """To http and https alone, and from https to https."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        allowed = ("https://",) if req.full_url.startswith("https://") else ("https://", "http://")
        if not newurl.lower().startswith(allowed):
            raise Unreachable(f"{req.full_url}: it redirects to {newurl!r:.200}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)


def _get(address: str, most: int) -> bytes | None:
    """A file, and of a larger one a byte more than `most`, which its reader refuses. None: there is none.

    A server that drips would wait out any timeout of a single read. So a thread reads, and is left behind."""
    found: list[bytes | Exception | None] = []

    def read() -> None:
        try:
            found.append(_read(address, most))
        except Exception as error:  # noqa: BLE001 (raised below, in the caller's thread)
            found.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    if not found:
        raise Unreachable(f"{address}: no whole answer in {DEADLINE_S:g} s")
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _read(address: str, most: int) -> bytes | None:
    try:
        with _OPENER.open(address, timeout=DEADLINE_S) as answer:
            data: bytes = answer.read(most + 1)
            return data
    except urllib.error.HTTPError as error:
        if error.code in {404, 410}:
            return None
        raise Unreachable(f"{address}: HTTP {error.code}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unreachable(f"{address}: {error}") from error


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ProofError as error:
        if error.reason is Reason.MISSING:
            raise Unreachable(f"{error}. Fetch or publish the tiles again, as a whole") from error
        raise Malformed(str(error)) from error
