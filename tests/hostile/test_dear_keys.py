"""Keys that take long to look at, from stations within their rates: other stations' boards do not wait."""

from __future__ import annotations

import hashlib
import itertools
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator

import gmpy2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import signing_pb2
from harness.hostile_line import HostileLine, Station, code_of
from harness.installation import Installation, product_toml
from harness.shared_primes import key_of

pytestmark = pytest.mark.check
PRODUCT = product_toml("dear").replace('["p256", "p384"]', '["p256", "p384", "rsa4096"]')
STATIONS, KEYS = 3, 50  # within the burst of 200 calls, and the 64 that may be open
# Prime number n, from 0 on, is _beginning(n) + OFFSETS[n]: of 2048 bits, enough for STATIONS * KEYS keys
# of two of them. To search for them anew would take some seconds of each run.
OFFSETS = (
    3469,
    9,
    144,
    1442,
    8,
    648,
    3787,
    96,
    277,
    1322,
    1957,
    7329,
    1666,
    502,
    5916,
    664,
    666,
    3404,
)
BOARDS = 12  # honest ones
ROUNDS = 3
SLOWER = 4.0  # at most, of the median; two cores are shared with those who make the noise


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileLine]:
    with Installation(tmp_path_factory.mktemp("dear")) as installation:
        hostile = HostileLine(installation)
        installation.add_product(PRODUCT)
        yield hostile
        hostile.close()


@pytest.fixture(scope="module")
def csrs() -> list[bytes]:
    """Of RSA-4096 keys that are all different, and none weak."""
    primes = [_beginning(number) + offset for number, offset in enumerate(OFFSETS)]
    assert all(gmpy2.is_strong_prp(prime, 2) for prime in primes)
    pairs = itertools.islice(itertools.combinations(primes, 2), STATIONS * KEYS)
    return [csr_of(key_of(p, q)) for p, q in pairs]


def _beginning(number: int) -> int:
    digits = hashlib.shake_256(f"dear keys {number}".encode()).digest(256)
    return int.from_bytes(digits, "big") | 3 << 2046


def csr_of(key: rsa.RSAPrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


class Noise:
    """A station that sends its CSRs as fast as it can, all at once."""

    def __init__(self, line: HostileLine, name: str, csrs: list[bytes]) -> None:
        self.station = line.add_station("plant1", name)
        order = line.open_order(stations=(self.station.uri,), product="dear")
        board = line.board()
        self._session = self.station.open(order, board.chip_id)
        self._evidence = board.request(self._session.challenge)[1]
        self._csrs = csrs
        self.told = Counter[str]()  # codes of the answers

    def send(self) -> None:
        calls = [
            self.station.signing.SignCsr.future(
                signing_pb2.SignCsrRequest(
                    session=self._session.session, csr_der=csr, evidence=self._evidence
                ),
                timeout=60,
            )
            for csr in self._csrs
        ]
        self.told = Counter(code_of(call.result) for call in calls)


def times(line: HostileLine, station: Station, order: str) -> list[float]:
    taken = []
    for _ in range(BOARDS):
        begin = time.perf_counter()
        station.certify(order, line.board())
        taken.append(time.perf_counter() - begin)
    return taken


def test_rsa_keys_within_the_rate_do_not_delay_other_stations(line: HostileLine, csrs: list[bytes]) -> None:
    ratios = []
    for attempt in range(ROUNDS):
        honest = line.add_station("plant2", f"honest-{attempt}")
        order = line.open_order(stations=(honest.uri,), quantity=2 * BOARDS)
        noises = [
            Noise(line, f"dear-{attempt}-{number}", csrs[number * KEYS : (number + 1) * KEYS])
            for number in range(STATIONS)
        ]
        quiet = statistics.median(times(line, honest, order))
        threads = [threading.Thread(target=noise.send) for noise in noises]
        for thread in threads:
            thread.start()
        loud = statistics.median(times(line, honest, order))
        for thread in threads:
            thread.join()
        for noise in noises:
            noise.station.close()
        honest.close()
        codes = sum((noise.told for noise in noises), Counter[str]())
        assert set(codes) == {"evidence_rejected", "rate_limited"}, codes
        assert codes["rate_limited"] > STATIONS  # each paid for its own
        ratios.append(loud / quiet)
        if ratios[-1] < SLOWER:
            return
    pytest.fail(f"honest boards took {ratios} times as long")


def test_an_honest_rsa_board_has_its_turn(line: HostileLine, csrs: list[bytes]) -> None:
    """The stations take turns: it waits for one key of each of the others, not for all that they sent."""
    honest = line.add_station("plant2", "honest-rsa")
    order = line.open_order(stations=(honest.uri,), product="dear")
    board = line.board()
    board.key = rsa.generate_private_key(65537, 4096)  # type: ignore[assignment] # as a board of this product
    noise = Noise(line, "dear-again", csrs[:KEYS])
    thread = threading.Thread(target=noise.send)
    thread.start()
    begin = time.perf_counter()
    _, signed = honest.certify(order, board)
    assert time.perf_counter() - begin < 5.0
    assert signed.certificate_der
    thread.join()
    noise.station.close()
    honest.close()
