"""The receipt's text: C2SP tlog-proof@v1."""

from __future__ import annotations

import base64

from signerd.core import receipt

NOTE = b"origin\n3\nroot\n\n\xe2\x80\x94 origin sig\n"


def test_a_receipt_with_hashes() -> None:
    hashes = [bytes([1]) * 32, bytes([2]) * 32]
    expected = (
        b"c2sp.org/tlog-proof@v1\nindex 1\n"
        + base64.b64encode(hashes[0])
        + b"\n"
        + base64.b64encode(hashes[1])
        + b"\n\n"
        + NOTE
    )
    assert receipt.build(1, hashes, NOTE) == expected


def test_a_receipt_of_a_tree_of_one() -> None:
    assert receipt.build(0, [], NOTE) == b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + NOTE
