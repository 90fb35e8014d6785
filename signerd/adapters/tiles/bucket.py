"""An S3 bucket with the log's tiles, which readers fetch from the server by their paths.

Guarantees what the folder does: an object is there whole or not at all (a PUT of S3 is atomic), and none is
written over with other bytes unless a command asks for it. One process writes at a time: whoever holds the
second place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from signerd.adapters.tiles.bucket_line import BucketAnswer, BucketLine, BucketTrouble, bucket_line
from signerd.config import BucketSettings
from signerd.core.bucket_answers import TroubleCode, no_such_object, trouble_of
from signerd.core.tiles import CHECKPOINT, partial_width, partials_folder
from signerd.errors import Fault

_MAX_NOTE = 64 * 1024  # bytes of a checkpoint, with the signatures of many witnesses
_MAX_LIST = 1 << 20  # bytes of a list of 255 objects, and of what a stranger put beside them
_MAX_ERROR = 8_192  # bytes of a refusal
_KEY = re.compile(rb"<Key>([^<&]{1,1024})</Key>")
_MD5 = re.compile(r"[0-9a-f]{32}")
# C2SP tlog-tiles: tiles never change, and the checkpoint is not to be kept beyond some seconds.
_TILE: Mapping[str, str] = {
    "Content-Type": "application/octet-stream",
    "Cache-Control": "max-age=31536000, immutable",
}
_NOTE: Mapping[str, str] = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-cache"}
_PROBE = "check-config"


class TilesBucket:
    """The bucket. All calls raise BucketTrouble where the server does not do what was asked."""

    def __init__(self, line: BucketLine) -> None:
        self._line = line
        self.where = line.where

    def note(self) -> bytes | None:
        """The checkpoint that readers see; None before the first."""
        note = self._get(CHECKPOINT, _MAX_NOTE)
        if note is not None and len(note) > _MAX_NOTE:
            raise self._line.trouble(TroubleCode.OTHER_LOG, f"{CHECKPOINT} has more than {_MAX_NOTE} bytes")
        return note

    def put(self, path: str, data: bytes, *, anew: bool = False) -> bool:
        """Writes one tile; whether it was not there as it should be. `anew`: over one that differs.

        Raises:
            Fault: one is there that differs.
        """
        there = self._get(path, len(data))
        if there == data:
            return False
        if there is not None and not anew:
            raise Fault(
                f"{self.where}{path} is not what the log has: keep a copy for whoever looks into it, stop"
                " signerd and run `signerd ledger publish`, which writes the tiles anew from the log"
            )
        self._put(path, data, _TILE)
        return True

    def put_checkpoint(self, note: bytes) -> None:
        """What readers see from now on."""
        self._put(CHECKPOINT, note, _NOTE)

    def partials(self, path: str) -> Iterator[int]:
        """The widths of the partial tiles that become the full one at `path`."""
        folder = f"{partials_folder(path)}/"
        query = {"list-type": "2", "prefix": f"{self._line.prefix}{folder}"}
        answer = self._line.ask("GET", "", query=query, limit=_MAX_LIST)
        if answer.status != 200:
            raise self._refused(answer)
        before = f"{self._line.prefix}{folder}".encode()
        for key in _KEY.findall(answer.body):
            name = key.removeprefix(before).decode("ascii", "replace")
            if key.startswith(before) and (width := partial_width(name)):
                yield width

    def drop_partial(self, path: str, width: int) -> None:
        """Takes away one of them."""
        self._delete(f"{partials_folder(path)}/{width}")

    def drop_partials(self, path: str) -> None:
        """Takes away the partial tiles of a full one. A crash leaves some, which nobody needs."""
        for width in self.partials(path):
            self.drop_partial(path, width)

    def probe(self) -> None:
        """Writes, reads and takes away an object that no reader looks for."""
        self._put(_PROBE, b"signerd check-config\n", _NOTE)
        if self._get(_PROBE, _MAX_ERROR) != b"signerd check-config\n":
            raise self._line.trouble(TroubleCode.DAMAGED, "what was written is not what is read")
        self._delete(_PROBE)

    def other_log(self, detail: str) -> BucketTrouble:
        """What is there is not ours."""
        return self._line.trouble(TroubleCode.OTHER_LOG, detail)

    def cut(self) -> None:
        """Ends what is under way, for good. Any thread may call."""
        self._line.cut()

    def close(self) -> None:
        """Lets go of the connection."""
        self._line.close()

    def _get(self, path: str, limit: int) -> bytes | None:
        """At most one byte more than the limit."""
        answer = self._line.ask("GET", path, limit=max(limit, _MAX_ERROR))
        if answer.status == 200:
            return answer.body[: limit + 1]
        if no_such_object(answer.status, answer.body):
            return None
        raise self._refused(answer)

    def _put(self, path: str, data: bytes, headers: Mapping[str, str]) -> None:
        answer = self._line.ask("PUT", path, headers=headers, body=data, limit=_MAX_ERROR)
        if answer.status != 200:
            raise self._refused(answer)
        tag = answer.headers.get("etag", "").strip('"')
        # Where the server encrypts with a key of its own choice, the tag is no digest.
        if _MD5.fullmatch(tag) and not _encrypted(answer) and tag != _md5(data):
            raise self._line.trouble(TroubleCode.DAMAGED, f"{path}: the server stored other bytes")

    def _delete(self, path: str) -> None:
        answer = self._line.ask("DELETE", path, limit=_MAX_ERROR)
        if answer.status not in {200, 204} and not no_such_object(answer.status, answer.body):
            raise self._refused(answer)

    def _refused(self, answer: BucketAnswer) -> BucketTrouble:
        found = trouble_of(answer.status, answer.body)
        if (
            found.code is TroubleCode.KEY
        ):  # the secret may be another by now: it is read with a new connection
            self._line.close()
        return self._line.trouble(found.code, found.detail)


def open_bucket(settings: BucketSettings, base: Path) -> TilesBucket:
    """That of the settings, which lie in `base`; nothing is asked yet. Raises ConfigError: the file of the CA
    is none."""
    return TilesBucket(bucket_line(settings, base))


def _encrypted(answer: BucketAnswer) -> bool:
    kind = answer.headers.get("x-amz-server-side-encryption", "AES256")
    return kind != "AES256" or "x-amz-server-side-encryption-customer-algorithm" in answer.headers


def _md5(data: bytes) -> str:
    """As S3 names the content of an object; nothing is secured by it."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
