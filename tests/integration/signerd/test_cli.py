from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil
import pytest
from cryptography import x509

from birthmark.v1 import admin_pb2
from harness.edge import TIMEOUT_S, Edge
from harness.installation import SENSOR, Installation, order_toml
from harness.process import COMMANDS, run, wait_until

SIGNERD = COMMANDS / "signerd"
STATION = "birthmark://dev/station/plant1/pc1"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("cli")) as edge:
        edge.start()
        yield edge


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Installation]:
    with Installation(tmp_path / "fresh") as installation:
        yield installation


def signerd(installation: Installation, *arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [str(SIGNERD), *map(str, arguments), "-c", str(installation.config)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def unstarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Never started: its tests leave it as they found it."""
    with Installation(tmp_path_factory.mktemp("unstarted") / "fresh") as installation:
        yield installation


@contextmanager
def changed(installation: Installation, old: str, new: str) -> Iterator[None]:
    before = installation.config.read_text("utf-8")
    change(installation, old, new)
    yield
    installation.config.write_text(before, "utf-8")


def change(installation: Installation, old: str, new: str) -> None:
    text = installation.config.read_text("utf-8")
    assert old in text
    installation.config.write_text(text.replace(old, new, 1), "utf-8")


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['signerd', '--help']\n"
        "from signerd.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'grpc', 'sqlalchemy', 'cryptography', 'pkcs11', 'pkilint'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_stations_and_auditors(edge: Edge, tmp_path: Path) -> None:
    peer = edge.peer("station/plant1/pc7")
    certificate = tmp_path / "pc7.pem"
    certificate.write_bytes(peer.certificate)
    assert "added" in edge.installation.admin("station", "add", "--certificate", certificate)
    code, said = signerd(edge.installation, "station", "add", "--certificate", certificate)
    assert (code, "already_exists" in said) == (1, True)
    (found,) = [
        each
        for each in json.loads(edge.installation.admin("station", "list", "--json"))
        if each["uri"] == peer.uri
    ]
    assert (found["role"], len(found["spki_sha256"]), "revoked_at" in found) == ("station", 64, False)
    edge.installation.admin("station", "revoke", peer.uri)
    assert signerd(edge.installation, "station", "revoke", peer.uri)[0] == 1
    assert peer.uri in edge.installation.admin("station", "list")
    assert peer.uri not in edge.installation.admin("auditor", "list")


def test_a_request_is_signed_and_registered(edge: Edge, tmp_path: Path) -> None:
    request, out = tmp_path / "pc8.csr.pem", tmp_path / "pc8.pem"
    key = tmp_path / "pc8.key"
    subject = ["-subj", "/CN=whatever"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run(["openssl", "req", "-new", *curve, "-keyout", key, *subject, "-out", request])
    edge.installation.admin("station", "add", request, "--site", "plant1", "--name", "pc8", "--out", out)
    san = x509.load_pem_x509_certificate(out.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    uris = san.value.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == ["birthmark://dev/station/plant1/pc8"]
    again = tmp_path / "again.pem"
    code, _ = signerd(
        edge.installation, "station", "add", request, "--site", "plant1", "--name", "pc8", "--out", again
    )
    assert code == 1
    assert not again.exists()
    assert signerd(edge.installation, "station", "add", request, "--name", "pc8")[0] == 2
    code, said = signerd(
        edge.installation, "station", "add", request, "--site", "a/b", "--name", "pc8", "--out", again
    )
    assert (code, "invalid" in said) == (1, True)


def test_products(edge: Edge, tmp_path: Path) -> None:
    file = tmp_path / "product.toml"
    file.write_text(SENSOR.replace('"sensor"', '"gauge"'), "utf-8")
    assert "added product gauge" in edge.installation.admin("product", "add", file)
    assert "gauge" in edge.installation.admin("product", "list")
    names = [each["name"] for each in json.loads(edge.installation.admin("product", "list", "--json"))]
    assert "gauge" in names


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('["O", "Example Corp"]', '["C", "Germany"]', ""),
        ('"clientAuth"', '"OCSPSigning"', "key holder"),
        ("validity_days = 7300", "validity_days = 20000", "validity"),
        ('"https://boards.example.com/{chip_id}"', '"board {chip_id}"', "uri"),
        ('accept = ["p256", "p384"]', 'accept = ["p999"]', "keys"),
        ("[keys]", "[keys", "TOML"),
    ],
)
def test_a_product_that_would_give_no_good_certificate(edge: Edge, old: str, new: str, named: str) -> None:
    assert old in SENSOR
    text = SENSOR.replace(old, new, 1).replace('"sensor"', '"wrong"')
    with pytest.raises(grpc.RpcError) as refused:
        edge.admin.AddProduct(admin_pb2.AddProductRequest(product_toml=text), timeout=TIMEOUT_S)
    assert isinstance(refused.value, grpc.Call)
    said = refused.value.details() or ""
    assert said.startswith("invalid: ")
    assert named.lower() in said.lower()
    products = edge.admin.ListProducts(admin_pb2.ListProductsRequest(), timeout=TIMEOUT_S).products
    assert "wrong" not in [product.name for product in products]


def test_work_orders_and_chips(edge: Edge, tmp_path: Path) -> None:
    edge.add_sensor()
    station = edge.add_peer("station/plant1/pc1")
    file = tmp_path / "order.toml"
    file.write_text(order_toml("WO-C", quantity=3, stations=[station.uri], level="none"), "utf-8")
    assert "opened WO-C" in edge.installation.admin("order", "open", file)
    code, said = signerd(edge.installation, "order", "open", file)
    assert (code, "already_exists" in said) == (1, True)
    shown = json.loads(edge.installation.admin("order", "show", "WO-C", "--json"))
    assert (shown["work_order"]["state"], shown["work_order"]["level"]) == ("open", "none")
    assert shown["work_order"]["minimum_firmware"] == {}
    assert shown["counts"] == {"places": 0, "issued": 0, "stamped": 0, "revoked": 0, "open_intents": 0}
    assert station.uri in edge.installation.admin("order", "show", "WO-C")
    chips = tmp_path / "chips.txt"
    chips.write_text("chip-1\n\nchip-2\n", "utf-8")
    assert "2 of 2" in edge.installation.admin("chips", "import", "--order", "WO-C", chips)
    assert "0 of 2" in edge.installation.admin("chips", "import", "--order", "WO-C", chips)
    chips.write_text("chip-3\nchip 4\n", "utf-8")
    code, said = signerd(edge.installation, "chips", "import", "--order", "WO-C", chips)
    assert (code, "line 2" in said) == (1, True)
    edge.installation.admin("order", "close", "WO-C")
    (listed,) = [
        each
        for each in json.loads(edge.installation.admin("order", "list", "--json"))
        if each["work_order"]["work_order"] == "WO-C"
    ]
    assert listed["work_order"]["state"] == "closed"
    assert signerd(edge.installation, "order", "show", "WO-NONE")[0] == 1
    file.write_text(order_toml("WO-D", quantity=3, stations=["birthmark://other/station/a/b"]), "utf-8")
    code, said = signerd(edge.installation, "order", "open", file)
    assert (code, "deployment" in said) == (1, True)


def test_chip_keys_are_for_their_owner_alone(edge: Edge, tmp_path: Path) -> None:
    chips, keys = tmp_path / "chips.txt", tmp_path / "keys.csv"
    chips.write_text("".join(f"k:{number}\n" for number in range(20)), "utf-8")
    arguments = ("chips", "personalize", chips, "--site", "lab", "--out", keys)
    assert "20 of 20" in edge.installation.admin(*arguments)
    assert keys.stat().st_mode & 0o777 == 0o600
    lines = keys.read_text("ascii").splitlines()
    assert (lines[0], len(lines), len(set(lines))) == ("chip_id,key", 21, 21)
    assert signerd(edge.installation, *arguments)[0] == 1  # it overwrites nothing
    locked = tmp_path / "locked.csv"
    code, _ = signerd(edge.installation, *arguments[:-1], locked, "--locked")
    assert code == 1  # known as not locked
    assert not locked.exists()
    again = tmp_path / "again.csv"
    assert "0 of 20" in edge.installation.admin(*arguments[:-1], again)
    assert again.read_text("ascii") == keys.read_text("ascii")


def test_a_crl(edge: Edge, tmp_path: Path) -> None:
    out = tmp_path / "dev.crl"
    edge.installation.admin("crl", "--out", out, "--hours", "24")
    assert len(x509.load_der_x509_crl(out.read_bytes())) == 0
    assert signerd(edge.installation, "crl", "--out", out, "--hours", "9000")[0] == 2
    assert signerd(edge.installation, "revoke", "NOBODY", "--reason", "keyCompromise")[0] == 1
    code, said = signerd(edge.installation, "revoke", "NOBODY", "--reason", "badMood")
    assert (code, "keyCompromise" in said) == (1, True)
    assert signerd(edge.installation, "revoke", "--reason", "keyCompromise")[0] == 2


def test_a_command_without_a_daemon(unstarted: Installation) -> None:
    code, said = signerd(unstarted, "order", "list")
    assert (code, "is it running" in said) == (4, True)


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    run([SIGNERD, "order", "list", "-c", tmp_path / "none.toml"], expect=3)


def test_sigterm_ends_all_and_the_next_start_works(fresh: Installation) -> None:
    program = fresh.start_signerd()
    children = program.children()
    assert children
    assert program.stop() == 0
    wait_until(lambda: not any(child.is_running() for child in children), "the key holders to end")
    assert not (fresh.home / "admin" / "admin.sock").exists()
    fresh.start_signerd()


def test_a_killed_daemons_socket_does_not_keep_the_next_from_starting(fresh: Installation) -> None:
    program = fresh.start_signerd()
    orphans: list[psutil.Process] = program.children()
    program.kill()
    assert (fresh.home / "admin" / "admin.sock").exists()
    wait_until(lambda: not any(orphan.is_running() for orphan in orphans), "the key holder to follow")
    fresh.start_signerd()


def test_two_daemons_on_one_installation(fresh: Installation) -> None:
    fresh.start_signerd()
    code, said = signerd(fresh, "run")
    assert (code, "another signerd" in said) == (3, True)
    assert signerd(fresh, "order", "list")[0] == 0


@pytest.mark.parametrize(
    ("what", "mode", "named"), [("admin", 0o755, "0700"), ("operations/server.key", 0o644, "0600")]
)
def test_what_others_could_reach_is_refused(
    unstarted: Installation, what: str, mode: int, named: str
) -> None:
    path = unstarted.home / what
    before = path.stat().st_mode & 0o777
    path.chmod(mode)
    for command in ("run", "check-config"):
        code, said = signerd(unstarted, command)
        assert (code, named in said) == (3, True)
    path.chmod(before)


def test_a_wrong_pin(fresh: Installation) -> None:
    pin = fresh.home / "hsm.pin"
    pin.chmod(0o600)
    pin.write_text("wrong-pin\n", "ascii")
    pin.chmod(0o400)
    code, said = signerd(fresh, "run")
    assert (code, "wrong-pin" in said) == (77, False)
    assert signerd(fresh, "check-config")[0] == 0
    assert signerd(fresh, "check-config", "--login")[0] == 77


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('token = "birthmark-dev"', 'token = "birthmark-dev"\ncolour = 1', "hsm.colour"),
        ("[ledger]", "[ledger", "TOML"),
        ('key = "operations/server.key"', 'key = "operations/ca.key"', "is not the key of"),
        ('certificate = "ca/sub-ca.pem"', 'certificate = "operations/ca.pem"', "issued"),
        ('url = "sqlite:///signerd.sqlite"', 'url = "sqlite:///other.sqlite"', "signerd init"),
        ('origin = "dev.', 'origin = "other.', "origin"),
        ('head = "head/checkpoint"', 'head = "head/none"', "head/none"),
        ('socket = "admin/admin.sock"', 'socket = "none/admin.sock"', "none"),
    ],
)
def test_a_wrong_configuration_is_named(unstarted: Installation, old: str, new: str, named: str) -> None:
    with changed(unstarted, old, new):
        code, said = signerd(unstarted, "check-config")
        assert (code, named in said) == (3, True), said


def test_check_config_finds_a_module_that_is_none(unstarted: Installation) -> None:
    module = unstarted.directory / "module.so"
    module.write_bytes(b"no module")
    text = unstarted.config.read_text("utf-8")
    old = next(line for line in text.splitlines() if line.startswith("module = "))
    with changed(unstarted, old, f'module = "{module}"'):
        code, said = signerd(unstarted, "check-config")
    assert (code, "hsm.module" in said) == (3, True)


def test_systemd_hears_of_the_start_and_the_end(fresh: Installation) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(fresh.directory / "notify"))
        systemd.settimeout(30)
        program = fresh.start_signerd({"NOTIFY_SOCKET": str(fresh.directory / "notify")})
        assert systemd.recv(100) == b"READY=1"
        assert program.stop() == 0
        assert systemd.recv(100) == b"STOPPING=1"


def test_metrics_are_served_locally(fresh: Installation) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    change(fresh, "\n[database]", f'\n[metrics]\nlisten = "127.0.0.1:{port}"\n\n[database]')
    fresh.start_signerd()
    fresh.admin("order", "list")

    def scraped() -> str:
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: line.recv(65536), b"")).decode("utf-8")

    wait_until(lambda: "signerd_ledger_published_size 1.0" in scraped(), "the first checkpoint")
    text = scraped()
    for name in (
        'signerd_calls_total{code="ok",rpc="ListWorkOrders"}',
        "signerd_call_seconds_bucket",
        "signerd_serving 1.0",
        "signerd_resident_bytes",
        "signerd_open_intents 0.0",
        "signerd_key_holder_restarts_total 0.0",
    ):
        assert name in text, text
    fresh.process.stop()
    change(fresh, f"127.0.0.1:{port}", f"0.0.0.0:{port}")
    code, said = signerd(fresh, "run")
    assert (code, "metrics.listen" in said) == (3, True)
