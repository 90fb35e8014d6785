"""Nothing in the agent can make a board's key or a request, nor hand one to a board.

The source of every module is read, and the graph of their imports. Only
`agent.adapters.enrolment.enroll` makes a key, the station's own, and nothing that touches a board reaches
it. A station that was changed by its operator is not held by this: signerd's evidence is.
"""

from __future__ import annotations

import ast
from pathlib import Path

import grimp
import pytest

AGENT = Path(__file__).parents[2] / "agent"
ENROLL = "agent.adapters.enrolment.enroll"
# Where the operator's wish to enroll is taken; it drives no board.
ENROLLS = {"agent.adapters.cli.setup"}
# Reads the station's own key, to compare it with the certificate; the company's, to sign bundles.
SIGNS_BUNDLES = "agent.adapters.cli.bundle"
READS_OWN_KEY = {"agent.adapters.enrolment.credentials", SIGNS_BUNDLES}
# Each starts one program: esptool's worker, which is read here like every module; the fixture's reset command
# and the MES's command, which are the operator's own, in agent.toml, and hand no board anything.
RUNS_ONE_PROGRAM = {
    "agent.adapters.drivers.esp32.worker_process",
    "agent.adapters.drivers.esp32.loader",
    "agent.adapters.results.command",
}
# Gives Windows' service manager the command of the agent itself.
INSTALLS_THE_SERVICE = "agent.adapters.service.manager"
TOUCHES_BOARDS = {
    "agent.api",
    "agent.certification",
    "agent.inspection",
    "agent.labelling",
    "agent.provision",
    "agent.station",
    "agent.board_run",
    "agent.steps",
    "agent.delivery",
    "agent.wiring",
    "agent.ports",
    "agent.adapters.cli.boards",
    "agent.adapters.line.watch",
    "agent.adapters.signer.outbox",
    "agent.adapters.journal.store",
    "agent.adapters.signer.client",
    "agent.adapters.line.serial_port",
    "agent.adapters.drivers.registry",
}

MAKES_KEYS = {
    "generate_private_key",
    "generate",  # Ed25519PrivateKey.generate and its like
    "derive_private_key",
    "from_private_bytes",
    "private_key",  # EllipticCurvePrivateNumbers(...).private_key()
    "EllipticCurvePrivateNumbers",
    "RSAPrivateNumbers",
    "SigningKey",
    "CertificateSigningRequestBuilder",
    "CertificateBuilder",
}
READS_KEYS = {
    "load_pem_private_key",
    "load_der_private_key",
    "load_ssh_private_key",
    "load_key_and_certificates",
}
RUNS_ANYTHING = {
    "system",
    "popen",
    "Popen",
    "create_subprocess_exec",
    "create_subprocess_shell",
    "execv",
    "spawnv",
}
INSTALLS_ANYTHING = {"CreateService", "ChangeServiceConfig"}
# pywin32's, beside its modules below.
RUNS_ANYTHING |= {"WinExec", "ShellExecute", "ShellExecuteEx", "CreateProcess", "CreateProcessAsUser"}
RUNS_ANYTHING |= {"LoadLibrary", "LoadLibraryEx", "GetProcAddress"}
LOADS_ANYTHING = {"exec", "eval", "compile", "__import__", "import_module", "getattr", "globals"}
MODULES = {
    "subprocess",
    "multiprocessing",
    "ctypes",
    "cffi",
    "importlib",
    "OpenSSL",
    "Crypto",
    "Cryptodome",
    "ecdsa",
    "rsa",
    "nacl",
    "asn1crypto",
    "pyasn1",
    "pythoncom",
    "win32com",
    "win32crypt",
    "win32process",
}
# The first finds drivers; what they are is the operator's choice. The second reads the page's own files.
ALLOWED_MODULES = {"importlib.metadata", "importlib.resources"}


def findings(source: str, module: str) -> set[str]:
    """What the module could make a key with."""
    forbidden = MAKES_KEYS | RUNS_ANYTHING | LOADS_ANYTHING
    if module != INSTALLS_THE_SERVICE:
        forbidden = forbidden | INSTALLS_ANYTHING
    if module not in READS_OWN_KEY:
        forbidden = forbidden | READS_KEYS
    if module in RUNS_ONE_PROGRAM:
        forbidden = forbidden - {"create_subprocess_exec"}
    tree = ast.parse(source)
    plain = {
        id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and _names_an_attribute(node)
    }
    names = [_names(node) for node in ast.walk(tree) if id(node) not in plain]
    imported = [_modules(node) for node in ast.walk(tree)]
    modules = {name for name in set().union(*imported) if _is_forbidden(name)}
    return set().union(*names) & forbidden | modules


def _names(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Attribute):
        # A pattern is compiled with re; nothing else is.
        return set() if ast.unparse(node) == "re.compile" else {node.attr}
    if isinstance(node, ast.alias):
        return set(node.name.split("."))
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value} - {"generate", "private_key"}  # words that stand in texts too
    return set()


def _modules(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return {node.module or ""}
    return set()


def _names_an_attribute(call: ast.Call) -> bool:
    """True for `getattr(thing, "name")`: the name is then looked at like any other text."""
    is_getattr = isinstance(call.func, ast.Name) and call.func.id == "getattr"
    return is_getattr and len(call.args) > 1 and isinstance(call.args[1], ast.Constant)


def _is_forbidden(name: str) -> bool:
    return name not in ALLOWED_MODULES and name.partition(".")[0] in MODULES


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(AGENT.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in AGENT.rglob("*.py")
    }


@pytest.mark.parametrize("module", sorted(set(modules()) - {ENROLL}))
def test_no_module_makes_keys(module: str) -> None:
    assert findings(modules()[module].read_text(encoding="utf-8"), module) == set()


def test_enrolment_is_found_out() -> None:
    found = findings(modules()[ENROLL].read_text(encoding="utf-8"), ENROLL)
    assert {"generate_private_key", "CertificateSigningRequestBuilder"} <= found


@pytest.mark.parametrize(
    "source",
    [
        "from cryptography.hazmat.primitives.asymmetric import ec\nec.generate_private_key(ec.SECP256R1())",
        "from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as harmless",
        "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as K\nK.generate()",
        "from cryptography.hazmat.primitives.asymmetric import ec\nec.derive_private_key(1, ec.SECP256R1())",
        "from cryptography import x509\nx509.CertificateSigningRequestBuilder()",
        "def step():\n    from cryptography.x509 import CertificateSigningRequestBuilder",
        "import subprocess\nsubprocess.run(['openssl', 'genpkey'])",
        "def step():\n    import subprocess as s",
        "import os\nos.system('openssl genpkey')",
        "import asyncio\nasyncio.create_subprocess_exec('openssl')",
        "import importlib\nimportlib.import_module('x')",
        "__import__('subprocess')",
        "import ecdsa",
        "from Crypto.PublicKey import ECC",
        "getattr(object, 'generate_' + 'private_key')",
        "getattr(object, 'generate_private_key')",
        "from cryptography.hazmat.primitives.serialization import load_pem_private_key",
    ],
)
def test_a_generator_that_is_added_is_found(source: str) -> None:
    module = modules()["agent.board_run"].read_text(encoding="utf-8")
    assert findings(module, "agent.board_run") == set()
    assert findings(f"{module}\n\n{source}\n", "agent.board_run")


@pytest.mark.parametrize(
    "source",
    [
        "import ctypes\nctypes.WinDLL('bcrypt')",
        "import win32crypt",
        "from win32com.client import Dispatch",
        "import win32process\nwin32process.CreateProcess(None, 'openssl')",
        "import win32api\nwin32api.WinExec('openssl')",
        "win32service.CreateService(manager, 'other', command)",
    ],
)
def test_windows_own_ways_to_a_key_are_found(source: str) -> None:
    name = "agent.adapters.windows_rights"
    module = modules()[name].read_text(encoding="utf-8")
    assert findings(module, name) == set()
    assert findings(f"{module}\n\n{source}\n", name)


@pytest.fixture(scope="module", name="graph")
def build_graph() -> grimp.ImportGraph:
    return grimp.build_graph("agent")


def reaching(graph: grimp.ImportGraph, module: str = ENROLL) -> set[str]:
    """Modules that touch boards and reach enrolment, or another module."""
    drivers = graph.find_descendants("agent.adapters.drivers") | {"agent.adapters.drivers"}
    touching = TOUCHES_BOARDS | drivers | graph.find_descendants("agent.core")
    return {one for one in touching if graph.chain_exists(importer=one, imported=module)}


def test_enrolment_is_out_of_reach(graph: grimp.ImportGraph) -> None:
    assert graph.modules >= TOUCHES_BOARDS
    assert graph.find_modules_that_directly_import(ENROLL) == ENROLLS
    assert reaching(graph) == set()


def test_signing_of_bundles_is_out_of_reach(graph: grimp.ImportGraph) -> None:
    assert SIGNS_BUNDLES in graph.modules
    assert reaching(graph, SIGNS_BUNDLES) == set()


@pytest.mark.parametrize(
    "module", ["agent.board_run", "agent.adapters.drivers.smp", "agent.adapters.journal.schema"]
)
def test_a_way_to_enrolment_that_is_added_is_found(module: str) -> None:
    graph = grimp.build_graph("agent")
    graph.add_import(importer=module, imported=ENROLL)
    assert reaching(graph)
