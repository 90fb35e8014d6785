"""Keys that take long to look at, from stations within their rates: other stations' boards do not wait."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import gmpy2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import signing_pb2
from birthmark.v1.signing_pb2 import Evidence
from birthmark.v1.signing_pb2 import OpenSessionResponse as Session
from harness.hostile_line import HostileLine, Station, code_of
from harness.installation import Installation, product_toml
from harness.rsa_keys import constant_primes, constant_rsa_key
from harness.shared_primes import key_of

pytestmark = pytest.mark.check
PRODUCT = product_toml("dear").replace('["p256", "p384"]', '["p256", "p384", "rsa4096"]')
STATIONS, KEYS = 3, 50  # within the burst of 200 calls, and the 64 that may be open
BOARDS = 12  # honest ones
ROUNDS = 3  # each with other keys: one that was looked at costs nothing more
NoiseOf = Callable[[HostileLine, str, list[rsa.RSAPrivateKey]], "Noise"]
SLOWER = 4.0  # at most, of the median; two cores are shared with those who make the noise


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileLine]:
    with Installation(tmp_path_factory.mktemp("dear")) as installation:
        hostile = HostileLine(installation)
        installation.add_product(PRODUCT)
        yield hostile
        hostile.close()


@pytest.fixture(scope="module")
def keys() -> Iterator[rsa.RSAPrivateKey]:
    """RSA-4096 keys that are all different, and none weak: each is given out once."""
    primes = constant_primes(2048)
    assert all(gmpy2.is_strong_prp(prime, 2) for prime in primes)
    return (key_of(p, q) for p, q in itertools.combinations(primes, 2))


def csr_of(key: rsa.RSAPrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


class Noise:
    """A station that sends what it has as fast as it can, all at once: CSRs with evidence."""

    def __init__(self, station: Station, session: Session, sent: list[tuple[bytes, Evidence]]) -> None:
        self.station = station
        self._session = session
        self._sent = sent
        self.told = Counter[str]()  # codes of the answers

    @classmethod
    def of_boards(cls, line: HostileLine, name: str, keys: list[rsa.RSAPrivateKey]) -> Noise:
        """CSRs of these keys, with evidence for another one."""
        station = line.add_station("plant1", name)
        order = line.open_order(stations=(station.uri,), product="dear")
        board = line.board()
        session = station.open(order, board.chip_id)
        evidence = board.request(session.challenge)[1]
        return cls(station, session, [(csr_of(key), evidence) for key in keys])

    @classmethod
    def of_vendor(cls, line: HostileLine, name: str, keys: list[rsa.RSAPrivateKey]) -> Noise:
        """Evidence by these keys, each certified for one chip, whose firmware the product does not accept."""
        station = line.add_station("plant1", name)
        order = line.open_order(stations=(station.uri,), product=line.product("x509"), level="key")
        board = line.board("x509")
        session = station.open(order, board.chip_id)
        csr = board.csr()
        vendor = line.silicon_of("x509").vendor
        chips = [vendor.attester(board.chip_id, key=key, digest=bytes(32)) for key in keys]
        sent = [(csr, replace(board, attester=chip).evidence_for(session.challenge, csr)) for chip in chips]
        return cls(station, session, sent)

    def send(self) -> None:
        calls = [
            self.station.signing.SignCsr.future(
                signing_pb2.SignCsrRequest(session=self._session.session, csr_der=csr, evidence=evidence),
                timeout=60,
            )
            for csr, evidence in self._sent
        ]
        self.told = Counter(code_of(call.result) for call in calls)


def times(line: HostileLine, station: Station, order: str) -> list[float]:
    taken = []
    for _ in range(BOARDS):
        begin = time.perf_counter()
        station.certify(order, line.board())
        taken.append(time.perf_counter() - begin)
    return taken


@pytest.mark.parametrize(
    ("noise_of", "refusal"), [(Noise.of_boards, "evidence_rejected"), (Noise.of_vendor, "level_insufficient")]
)
def test_rsa_keys_within_the_rate_do_not_delay_other_stations(
    line: HostileLine, keys: Iterator[rsa.RSAPrivateKey], noise_of: NoiseOf, refusal: str
) -> None:
    ratios = []
    for attempt in range(ROUNDS):
        honest = line.add_station("plant2", f"honest-{refusal[0]}-{attempt}")
        order = line.open_order(stations=(honest.uri,), quantity=2 * BOARDS)
        noises = [
            noise_of(line, f"{refusal[0]}-{attempt}-{number}", list(itertools.islice(keys, KEYS)))
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
        assert set(codes) == {refusal, "rate_limited"}, codes
        assert codes["rate_limited"] > STATIONS  # each paid for its own
        ratios.append(loud / quiet)
        if ratios[-1] < SLOWER:
            return
    pytest.fail(f"honest boards took {ratios} times as long")


def test_an_honest_rsa_board_has_its_turn(line: HostileLine, keys: Iterator[rsa.RSAPrivateKey]) -> None:
    """The stations take turns: it waits for one key of each of the others, not for all that they sent."""
    honest = line.add_station("plant2", "honest-rsa")
    order = line.open_order(stations=(honest.uri,), product="dear")
    board = line.board()
    board.key = constant_rsa_key(4096)  # type: ignore[assignment] # as a board of this product
    noise = Noise.of_boards(line, "dear-again", list(itertools.islice(keys, KEYS)))
    thread = threading.Thread(target=noise.send)
    thread.start()
    begin = time.perf_counter()
    _, signed = honest.certify(order, board)
    assert time.perf_counter() - begin < 5.0
    assert signed.certificate_der
    thread.join()
    noise.station.close()
    honest.close()
