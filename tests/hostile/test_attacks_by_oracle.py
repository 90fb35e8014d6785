"""What refusals tell. Each group is of wrong evidence that fails at different places; one answer is for all.

That a comparison of MACs takes as long for a near miss as for a far one cannot be shown over a network: what
it would differ by is nanoseconds. So the code is looked at as well: there is one comparison, and it is the
one that is made for this.
"""

from __future__ import annotations

import ast
import base64
import hmac
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from birthmark.v1 import admin_pb2
from birthmark.v1 import signing_pb2 as pb
from boards.attesters.x509 import X509Vendor
from harness.attempts import Attempts, Forgery, evidence
from harness.hostile_line import Station, code_of
from harness.paper_board import PaperBoard, deterministic
from signerd.adapters.keyholder import process

ROUNDS = 3
CALLS = 25  # of each kind in a round: within a station's burst of 200
# Far above what a loaded machine does to medians of calls that take turns, far below what a comparison
# that ends early, or asks the HSM once more, would have to differ by to be of use from afar.
LIKE = 1.6


@dataclass(frozen=True, slots=True)
class Answer:
    """All that a refusal tells, but for the time that it takes."""

    status: grpc.StatusCode
    message: str
    trailing: tuple[tuple[str, str | bytes], ...]
    initial: tuple[tuple[str, str | bytes], ...]


def answer(call: Callable[[], Any]) -> Answer:
    """The answer to a call that must be refused."""
    with pytest.raises(grpc.RpcError) as refusal:
        call()
    call_error = refusal.value
    assert isinstance(call_error, grpc.Call)
    return Answer(
        call_error.code(),
        call_error.details() or "",
        tuple(
            (entry.key, entry.value)
            for entry in call_error.trailing_metadata() or ()
            if entry.key != "birthmark-time"  # whoever asks knows when
        ),
        tuple((entry.key, entry.value) for entry in call_error.initial_metadata() or ()),
    )


def all_alike(attempts: Attempts, order: str, board: PaperBoard, forgeries: Sequence[Forgery]) -> None:
    """Each is answered as all the others are, and the genuine board in the same session as ever."""
    station = attempts.line.pc2  # with a share of the ledger of its own
    session = station.open(order, board.chip_id)
    answers = set()
    for forgery in forgeries:
        csr, sent = forgery(session.challenge)
        answers.add(answer(partial(station.sign, session, csr, sent)))
    code = "evidence_rejected"
    assert answers == {Answer(grpc.StatusCode.PERMISSION_DENIED, code, (("birthmark-code", code),), ())}
    assert station.sign(session, *board.request(session.challenge)).certificate_der


def bytes_of(board: PaperBoard, made: bytes) -> Forgery:
    return lambda _: (board.csr(), evidence(board, made))


def bit_flipped(board: PaperBoard, position: int) -> Forgery:
    """Genuine evidence with one bit changed."""

    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        wrong = bytearray(sent.evidence)
        wrong[position] ^= 1
        sent.evidence = bytes(wrong)
        return csr, sent

    return forged


def other_claims(board: PaperBoard) -> Forgery:
    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        sent.claims = deterministic([{}, {}])
        return csr, sent

    return forged


def unlisted(board: PaperBoard) -> Forgery:
    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        sent.method = "a-method-of-nobody"
        return csr, sent

    return forged


def common(board: PaperBoard) -> list[Forgery]:
    """Wrong before the method is asked, and at its door."""
    whole = [bytes_of(board, made) for made in (b"", b"\x00", b"\x81" * 16384)]
    return [*whole, other_claims(board), unlisted(board), bit_flipped(board, -1)]


def test_wrong_macs_are_answered_alike(attempts: Attempts) -> None:
    order, board = attempts.order("hmac-sha256"), attempts.line.board()
    wrong: list[dict[str, Any]] = [{"secret": "guessed"}, {"secret": "empty"}, {"keep": 31}]
    forgeries = [attempts.faulty(board, **each).request for each in wrong]
    all_alike(attempts, order, board, [*forgeries, *common(board), *(bit_flipped(board, n) for n in (0, 15))])


@pytest.mark.parametrize("evidence_holds", [True, False])
def test_claims_of_no_form_are_answered_alike_whatever_the_evidence(
    attempts: Attempts, evidence_holds: bool
) -> None:
    """The form is looked at first: with it nobody asks whether a MAC is right."""
    order, board = attempts.order("hmac-sha256"), attempts.line.board()

    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        sent.claims = b"\xff"
        if not evidence_holds:
            sent.evidence = bytes(32)
        return csr, sent

    attempts.refused(order, board, forged, "request_malformed")


def test_wrong_psa_tokens_are_answered_alike(attempts: Attempts) -> None:
    order, board = attempts.order("psa-token"), attempts.line.board("psa-token")
    wrong: list[dict[str, Any]] = [
        {"lifecycle": "unknown"},
        {"implementation_id": bytes(32)},
        {"nonce": "other"},
        {"key": "other"},
        {"key": "public", "named_algorithm": 5},
        {"tag": 17},
        {"twice": "nonce"},
        {"claims": {"profile": "nobody's"}},
        {"envelope_style": "indefinite"},
    ]
    forgeries = [attempts.faulty(board, **each).request for each in wrong]
    all_alike(attempts, order, board, [*forgeries, *common(board)])


def test_wrong_maced_psa_tokens_are_answered_alike(attempts: Attempts) -> None:
    """Some of them the key holder is asked about, some not."""
    vendor = attempts.line.burned_psa_vendor("HMAC256")
    order, board = attempts.order("psa-token", vendor=vendor), attempts.line.board("psa-token", vendor=vendor)
    wrong: list[dict[str, Any]] = [
        {"key": "other"},
        {"proof": "zero"},
        {"proof": "truncated"},
        {"nonce": "other"},
        {"lifecycle": "unknown"},
    ]
    forgeries = [attempts.faulty(board, vendor=vendor, **each).request for each in wrong]
    all_alike(attempts, order, board, [*forgeries, *common(board)])


def test_wrong_certificates_are_answered_alike(attempts: Attempts) -> None:
    order, board = attempts.order("x509"), attempts.line.board("x509")
    wrong: list[dict[str, Any]] = [
        {"root": "another"},
        {"validity": "expired"},
        {"leaf_ca": True},
        {"path": "cut"},
        {"path": "leaf-is-root"},
        {"names": ("another",)},
        {"flags": (3,)},
        {"key_type": "rsa1024"},
    ]
    forgeries = [attempts.faulty(board, **each).request for each in wrong]
    strange = replace(board, attester=X509Vendor().attester(board.chip_id)).request
    all_alike(attempts, order, board, [*forgeries, strange, *common(board)])


def test_wrong_evidence_of_a_modem_is_answered_alike(attempts: Attempts) -> None:
    order, board = attempts.order("nrf91"), attempts.line.board("nrf91")
    wrong: list[dict[str, Any]] = [
        {"keygen_type": 8},
        {"nonce": bytes(16)},
        {"swapped": True},
        {"kid": b"\x20"},
        {"encoding": "newline"},
        {"keygen_key": board.key},
        {"csr": b"another"},
    ]
    forgeries = [attempts.faulty(board, **each).request for each in wrong]
    all_alike(attempts, order, board, [*forgeries, *common(board)])


def test_wrong_evidence_of_a_tpm_is_answered_alike(attempts: Attempts) -> None:
    order, board = attempts.order("tpm2"), attempts.line.board("tpm2")
    wrong: list[dict[str, Any]] = [
        {"cleared": ("sensitiveDataOrigin",)},
        {"kind": "quote"},
        {"magic": 0},
        {"extra_data": bytes(32)},
        {"hash": "sha1"},
        {"certificate": "other root"},
        {"certificate": "none"},
        {"signed_by": board.key},
    ]
    forgeries = [attempts.faulty(board, **each).request for each in wrong]
    all_alike(attempts, order, board, [*forgeries, *common(board)])


def test_sessions_that_do_not_hold_are_answered_alike(attempts: Attempts) -> None:
    """Made up, changed, and another station's: nobody learns which sessions there are."""
    order, board = attempts.order("hmac-sha256"), attempts.line.board()
    session, theirs = (
        station.open(order, board.chip_id) for station in (attempts.line.pc1, attempts.line.pc2)
    )
    sent = board.request(session.challenge)
    wrong = [bytes(len(session.session)), b"\x00", session.session[:-1], theirs.session]
    answers = {
        answer(partial(attempts.line.pc1.sign, pb.OpenSessionResponse(session=each), *sent)) for each in wrong
    }
    assert len(answers) == 1
    assert answers.pop().message == "session_unknown"


def test_a_key_of_another_chip_is_only_told_to_who_has_good_evidence(attempts: Attempts) -> None:
    """Which keys are certified is not for anyone to ask: the evidence comes first."""
    order, first, second = attempts.order("hmac-sha256"), attempts.line.board(), attempts.line.board()
    attempts.line.pc1.certify(order, first)
    shared = replace(second, key=first.key)
    attempts.refused(order, second, attempts.faulty(shared, secret="guessed").request)


def test_whether_a_chip_has_a_certificate_is_only_told_to_who_has_good_evidence(attempts: Attempts) -> None:
    order, board = attempts.order("hmac-sha256"), attempts.line.board()
    attempts.line.pc1.certify(order, board)
    clone = attempts.faulty(board.twin(), secret="guessed")
    attempts.refused(order, board, clone.request, answered=False)


@pytest.mark.parametrize("full", [False, True], ids=["an order with room", "a full order"])
def test_opening_a_session_tells_nothing_of_what_other_orders_did(attempts: Attempts, full: bool) -> None:
    """Nor does the session: before good evidence all that is told is whether the chip is known."""
    line = attempts.line
    elsewhere = line.open_order(stations=(line.pc1.uri,))
    certified, revoked, stamped, fresh, last = (line.board() for _ in range(5))
    for board in (certified, revoked, stamped):
        session, signed = line.pc1.certify(elsewhere, board)
        if board is revoked:
            line.admin.Revoke(
                admin_pb2.RevokeRequest(serial_number=signed.serial_number, reason="keyCompromise")
            )
        if board is stamped:
            line.pc1.stamp(board, session, signed)
    other = line.add_station("site2", f"asks-{full}".lower())
    order = line.open_order(stations=(other.uri,), quantity=1)
    if full:
        other.certify(order, last)
    told = {
        code_of(partial(other.open, order, board.chip_id)) for board in (certified, revoked, stamped, fresh)
    }
    assert told == {"order_full" if full else ""}
    assert code_of(partial(other.open, order, "nobody:1")) == "chip_unknown"
    if not full:  # and in the session, with evidence of its own making
        for board in (certified, revoked, stamped, fresh):
            forged = attempts.faulty(board.twin(), secret="guessed").request(b"")
            session = other.open(order, board.chip_id)
            assert code_of(partial(other.sign, session, *forged)) == "evidence_rejected"
    other.close()


# Time


def medians(station: Station, session: pb.OpenSessionResponse, sent: Sequence[Any]) -> list[float]:
    """The median time of each request's refusal; they take turns."""
    times: list[list[float]] = [[] for _ in sent]
    for _ in range(CALLS):
        for taken, (csr, made) in zip(times, sent, strict=True):
            begin = time.perf_counter()
            answer(partial(station.sign, session, csr, made))
            taken.append(time.perf_counter() - begin)
    return [statistics.median(taken) for taken in times]


def in_like_time(attempts: Attempts, name: str, order_of: Callable[[str], str], requests: Any) -> None:
    """In one round at least the slowest kind takes no more than `LIKE` of the quickest one's time.

    What another program does to one round is no finding; what the code does would be in every round.
    """
    ratios: list[float] = []
    for number in range(ROUNDS):
        station = attempts.line.add_station("oracle", f"{name}-{number}")
        order, board, forgeries = requests(order_of(station.uri))
        session = station.open(order, board.chip_id)
        found = medians(station, session, [forgery(session.challenge) for forgery in forgeries])
        station.close()
        ratios.append(max(found) / min(found))
        if ratios[-1] <= LIKE:
            return
    pytest.fail(f"refusals take different times: {ratios}")


def test_a_mac_wrong_at_its_first_byte_takes_as_long_as_one_wrong_at_its_last(attempts: Attempts) -> None:
    def requests(order: str) -> Any:
        board = attempts.line.board()
        return order, board, [bit_flipped(board, 0), bit_flipped(board, 31)]

    in_like_time(attempts, "mac", lambda uri: attempts.order("hmac-sha256", stations=(uri,)), requests)


def test_a_maced_token_wrong_at_its_first_byte_takes_as_long_as_one_wrong_at_its_last(
    attempts: Attempts,
) -> None:
    vendor = attempts.line.burned_psa_vendor("HMAC256")

    def requests(order: str) -> Any:
        board = attempts.line.board("psa-token", vendor=vendor)
        return order, board, [bit_flipped(board, -32), bit_flipped(board, -1)]

    in_like_time(
        attempts,
        "token",
        lambda uri: attempts.order("psa-token", vendor=vendor, stations=(uri,)),
        requests,
    )


def test_a_signature_wrong_at_its_first_byte_takes_as_long_as_one_wrong_at_its_last(
    attempts: Attempts,
) -> None:
    def requests(order: str) -> Any:
        board = attempts.line.board("psa-token")
        return order, board, [bit_flipped(board, -64), bit_flipped(board, -1)]

    in_like_time(attempts, "signature", lambda uri: attempts.order("psa-token", stations=(uri,)), requests)


def test_macs_are_compared_in_one_place_in_constant_time() -> None:
    """`_mac_check` compares with `hmac.compare_digest`, and with nothing else."""
    tree = ast.parse(Path(process.__file__).read_text(encoding="utf-8"))
    (check,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "_mac_check"
    )
    (holds,) = (
        node for node in ast.walk(check) if isinstance(node, ast.FunctionDef) and node.name == "holds"
    )
    (answer,) = (node.value for node in ast.walk(holds) if isinstance(node, ast.Return))
    assert answer is not None
    assert ast.unparse(answer) == "hmac.compare_digest(hmac.digest(key, message, hash_name), mac)"
    compared = [node for node in ast.walk(check) if isinstance(node, ast.Compare)]
    assert all("mac" not in ast.unparse(node) for node in compared)


def test_outside_of_the_key_holder_nobody_compares_a_mac() -> None:
    """The other modules look at its length alone; they have nothing to compare it with."""
    folder = Path(process.__file__).parents[2]
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                text = ast.unparse(node)
                assert "question.mac" not in text.replace("len(question.mac)", ""), f"{path}: {text}"


# The log


def test_the_log_holds_no_secret_and_no_right_mac(attempts: Attempts) -> None:
    """The reason of a refusal is for the log; what would help a forger is not even there."""
    order, board = attempts.order("hmac-sha256"), attempts.line.board()
    assert board.chip_key is not None
    right: list[bytes] = [board.chip_key]

    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        right.append(hmac.digest(board.chip_key or b"", board.transcript(challenge, csr), "sha256"))
        return csr, evidence(board, bytes(32))

    attempts.refused(order, board, forged)
    program = attempts.line.installation.process
    said = program.stdout_file.read_bytes() + program.stderr_file.read_bytes()
    assert b"evidence_rejected" in said
    for secret in (*right, *attempts.line.chip_keys):
        forms = (secret, secret.hex().encode(), base64.b64encode(secret), repr(secret).encode())
        assert not any(form in said for form in forms)


def test_a_line_of_ones_own_in_the_log(attempts: Attempts) -> None:
    """What a station sends never ends a line: whoever reads the log reads signerd's words."""
    order, board = attempts.order("hmac-sha256"), attempts.line.board()
    forged_line = '\n{"event": "forged"}\r\n\x1b[2J'
    session = attempts.line.pc1.open(order, board.chip_id)
    csr, sent = board.request(session.challenge)
    claims = deterministic([{"app": ["1.0-" + forged_line[:20], bytes(32)]}, {forged_line: True}])
    for wrong, code in (
        (pb.Evidence(method=forged_line, claims=sent.claims, evidence=sent.evidence), "evidence_rejected"),
        (pb.Evidence(method=sent.method, claims=claims, evidence=sent.evidence), "request_malformed"),
        (
            pb.Evidence(method=sent.method, claims=sent.claims, evidence=forged_line.encode()),
            "evidence_rejected",
        ),
    ):
        attempts.refused_in(session, order, board.chip_id, (csr, wrong), code)
    attempts.line.refused("request_malformed", lambda: attempts.line.pc1.open(order, forged_line))
    said = attempts.line.installation.process.stderr_file.read_bytes()
    assert b"\x1b" not in said
    events = [json.loads(line)["event"] for line in said.splitlines()]
    assert "forged" not in events
    assert "call" in events


def test_an_auditor_finds_nothing_after_the_oracle_attempts(attempts: Attempts) -> None:
    attempts.line.verify()
