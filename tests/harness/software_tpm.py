"""A TPM 2.0 that runs: swtpm as a process of its own, spoken to with tpm2-tools.

    with SoftwareTpm() as tpm:
        ak, key = tpm.attestation_key(), tpm.signing_key()
        csr = tpm.csr(key)
        attest, signature = tpm.certify(key, ak, qualification)

Each object starts with a new TPM, which ends with it and leaves nothing behind. Keys are made persistent, so
that they have handles; a TPM of this kind holds at least seven. Without swtpm or tpm2-tools everything here
raises, and says what to install.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from boards.attesters import csr_attestation
from boards.attesters.csr_attestation import SEQUENCE, SET, der
from boards.attesters.tpm2 import ATTRIBUTES, sized, u32
from harness.process import Program, ProgramError, run, wait_until

# As tpm2-tools spell TPMA_OBJECT.
BORN_HERE = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"
_PACKAGES = {"swtpm": "swtpm", "tpm2_certify": "tpm2-tools"}
# TPM 2.0 Library, Part 2, sections 7.2 and 7.3: persistent, of the owner; and transient, in an empty TPM.
_FIRST_PERSISTENT, _FIRST_TRANSIENT = 0x81010001, 0x80000000
_PASSWORD = bytes.fromhex("40000009 0000 00 0000")  # TPM_RS_PW, no nonce, no attributes, no secret
# Part 2, section 6.5.2.
_CREATE, _LOAD, _CERTIFY, _CREATE_LOADED = 0x153, 0x157, 0x148, 0x191
_NV_INDEX = "0x01500001"
# Part 2, section 6.6.3, TPM_RC_RETRY: nothing was done, send it again; as often as the tools themselves do.
_RETRY, _ATTEMPTS = 0x922, 5
_TIMEOUT_S = 60  # an RSA key takes seconds on a busy machine
_UTF8, _CN = 0x0C, bytes.fromhex("0603550403")
_CSR_ALGORITHMS = {
    "ecc": bytes.fromhex("06082a8648ce3d040302"),  # ecdsa-with-SHA256
    "rsa": bytes.fromhex("06092a864886f70d01010b") + b"\x05\x00",  # sha256WithRSAEncryption
}


@dataclass(frozen=True, slots=True)
class TpmKey:
    """A key that the TPM holds."""

    handle: int
    public: bytes  # TPMT_PUBLIC
    name: bytes
    spki: bytes  # SubjectPublicKeyInfo, DER

    @property
    def kind(self) -> str:
        """`ecc` or `rsa`."""
        return {0x0001: "rsa", 0x0023: "ecc"}[int.from_bytes(self.public[:2], "big")]


@dataclass(frozen=True, slots=True)
class Created:
    """A key, and what TPM2_Create said of its creation."""

    key: TpmKey
    ticket: bytes  # TPMT_TK_CREATION
    digest: bytes


class SoftwareTpm:
    """One TPM, new and empty."""

    def __init__(self) -> None:
        self._resources = ExitStack()
        self._handles = itertools.count(_FIRST_PERSISTENT)
        self._files = itertools.count()

    def __enter__(self) -> Self:
        for program, package in _PACKAGES.items():
            if shutil.which(program) is None:
                raise ProgramError(f"{program} is not here: install the package {package}")
        with self._resources as resources:
            # Not pytest's folder: the name of a Unix socket has at most 107 bytes (unix(7)).
            self.directory = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="tpm-")))
            socket = self.directory / "socket"
            state = self.directory / "state"
            state.mkdir()
            command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}"]
            command += ["--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl"]
            command += ["--flags", "not-need-init,startup-clear"]
            swtpm = resources.enter_context(Program(command, log=self.directory / "swtpm.log"))
            self._environment = {**os.environ, "TPM2TOOLS_TCTI": f"swtpm:path={socket}"}
            wait_until(lambda: socket.exists() and Path(f"{socket}.ctrl").exists(), "the TPM", program=swtpm)
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    # What the tools do.

    def tool(self, *command: str | Path) -> str:
        """Runs one of tpm2-tools in the TPM's folder; what it printed.

        Raises:
            ProgramError: the tool, or the TPM, refuses.
        """
        return run(command, timeout_s=_TIMEOUT_S, directory=self.directory, environment=self._environment)

    def file(self, content: bytes | None = None) -> Path:
        """A name for a file of the tools, and perhaps what stands in it."""
        path = self.directory / f"file-{next(self._files)}"
        if content is not None:
            path.write_bytes(content)
        return path

    def forget(self) -> None:
        """Takes transient objects out of the TPM, which has room for three: nobody else does it here."""
        self.tool("tpm2_flushcontext", "-t")

    # Keys.

    def attestation_key(
        self, algorithm: str = "ecc", *, hash_name: str = "sha256", scheme: str = "ecdsa"
    ) -> TpmKey:
        """A restricted signing key under the endorsement key."""
        endorsement, context, public = self.file(), self.file(), self.file()
        self.tool("tpm2_createek", "-G", "ecc", "-c", endorsement, "-u", public)
        self.forget()
        options = ["-G", algorithm, "-g", hash_name, "-s", scheme]
        self.tool("tpm2_createak", "-C", endorsement, "-c", context, *options, "-u", public)
        return self._kept(context)

    def signing_key(
        self, algorithm: str = "ecc256", *, attributes: str = BORN_HERE, parent: Path | None = None
    ) -> TpmKey:
        """A key made by TPM2_Create, under a primary key of the owner where no parent is given."""
        context = self.file()
        files = ["-u", str(self.file()), "-r", str(self.file()), "-c", str(context)]
        self.tool("tpm2_create", "-C", parent or self._parent(), "-G", algorithm, "-a", attributes, *files)
        return self._kept(context)

    def creation_key(self) -> Created:
        """A key made by TPM2_Create, and the ticket of it."""
        parent, context, ticket, digest = self._parent(), self.file(), self.file(), self.file()
        public, private = self.file(), self.file()
        self.tool(
            *("tpm2_create", "-C", parent, "-G", "ecc256", "-a", BORN_HERE, "-u", public, "-r", private),
            *("--creation-data", self.file(), "-t", ticket, "-d", digest),
        )
        self.forget()
        self.tool("tpm2_load", "-C", parent, "-u", public, "-r", private, "-c", context)
        return Created(self._kept(context), ticket.read_bytes(), digest.read_bytes())

    def derived_key(self, seed: bytes | None) -> TpmKey:
        """A transient key of P-256 that TPM2_CreateLoaded derives (Part 3, section 12.9).

        Args:
            seed: of the derivation parent, as somebody outside knows it; None: the TPM makes it.
        """
        storage = self._kept(self._parent()).handle
        born = ("fixedTPM", "fixedParent", "sensitiveDataOrigin") if seed is None else ()
        # TPMT_PUBLIC of keyedHash, without a policy; the scheme is XOR with SHA-256 and KDF1_SP800_108.
        public = bytes.fromhex("0008 000b") + _attributes("userWithAuth", "restricted", "decrypt", *born)
        public += bytes.fromhex("0000 000a 000b 0022 0000")
        inside = sized(sized(b"") + sized(seed or b""))
        answer = self._send(_CREATE, [storage], inside + sized(public) + sized(b"") + u32(0))
        created = answer[4:]
        private_end = 2 + int.from_bytes(created[:2], "big")
        public_end = private_end + 2 + int.from_bytes(created[private_end : private_end + 2], "big")
        parent = int.from_bytes(self._send(_LOAD, [storage], created[:public_end])[:4], "big")
        # TPM2B_TEMPLATE of P-256, with label and context in the place of the point.
        fixed = ("fixedTPM", "fixedParent") if seed is None else ("fixedParent",)
        template = bytes.fromhex("0023 000b") + _attributes("userWithAuth", "sign", *fixed)
        template += bytes.fromhex("0000 0010 0010 0003 0010") + sized(b"label") + sized(b"context")
        nothing = sized(sized(b"") + sized(b""))
        answer = self._send(_CREATE_LOADED, [parent], nothing + sized(template))
        return self._read(int.from_bytes(answer[:4], "big"))

    def movable_parent(self) -> Path:
        """A storage key that may be duplicated into another TPM, or out of them all."""
        context = self.file()
        attributes = "sensitivedataorigin|userwithauth|restricted|decrypt"
        files = ["-u", str(self.file()), "-r", str(self.file()), "-c", str(context)]
        self.tool("tpm2_create", "-C", self._parent(), "-G", "ecc", "-a", attributes, *files)
        self.forget()
        return context

    def primary_key(self, algorithm: str = "ecc256", *, attributes: str = BORN_HERE) -> TpmKey:
        """A key made by TPM2_CreatePrimary in the owner's hierarchy."""
        context = self.file()
        self.tool("tpm2_createprimary", "-C", "o", "-G", algorithm, "-a", attributes, "-c", context)
        return self._kept(context)

    def imported_key(self, pem: bytes, *, attributes: str = "userwithauth|sign") -> TpmKey:
        """A key of P-256 that was made outside, by TPM2_Import and TPM2_Load."""
        parent, context, public, private = self._parent(), self.file(), self.file(), self.file()
        outside = self.file(pem)
        names = ["-u", str(public), "-r", str(private)]
        self.tool("tpm2_import", "-C", parent, "-G", "ecc", "-i", outside, "-a", attributes, *names)
        self.forget()
        self.tool("tpm2_load", "-C", parent, *names, "-c", context)
        return self._kept(context)

    def external_key(self, *options: str | Path) -> TpmKey:
        """A key loaded by TPM2_LoadExternal, the only transient object."""
        self.forget()
        self.tool("tpm2_loadexternal", "-C", "n", "-c", self.file(), *options)
        return self._read(_FIRST_TRANSIENT)

    def _parent(self) -> Path:
        context = self.file()
        self.tool("tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", context)
        self.forget()
        return context

    def _kept(self, context: Path) -> TpmKey:
        self.forget()
        handle = next(self._handles)
        self.tool("tpm2_evictcontrol", "-C", "o", "-c", context, f"{handle:#x}")
        self.forget()
        return self._read(handle)

    def _read(self, handle: int) -> TpmKey:
        name, public, pem = self.file(), self.file(), self.file()
        self.tool("tpm2_readpublic", "-c", f"{handle:#x}", "-n", name, "-f", "tss", "-o", public)
        self.tool("tpm2_readpublic", "-c", f"{handle:#x}", "-f", "pem", "-o", pem)
        key = load_pem_public_key(pem.read_bytes())
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        # The file has a TPM2B_PUBLIC: a length, and the TPMT_PUBLIC.
        return TpmKey(handle, public.read_bytes()[2:], name.read_bytes(), spki)

    # What the TPM says.

    def certify(
        self, key: TpmKey, ak: TpmKey, qualification: bytes, *, scheme: bytes = b"\x00\x10"
    ) -> tuple[bytes, bytes]:
        """TPM2_Certify: TPMS_ATTEST and TPMT_SIGNATURE.

        The tool of this name has no option for the qualifying data in tpm2-tools 5.4, so the command is
        written here (Part 3, section 18.2).

        Args:
            key: to be certified.
            ak: that signs.
            qualification: at most 64 bytes.
            scheme: TPMT_SIG_SCHEME; TPM_ALG_NULL takes that of the AK.
        """
        handles = [key.handle, ak.handle]
        answer = self._send(_CERTIFY, handles, sized(qualification) + scheme, passwords=2)
        parameters = answer[4 : 4 + int.from_bytes(answer[:4], "big")]
        end = 2 + int.from_bytes(parameters[:2], "big")
        return parameters[2:end], parameters[end:]

    def _send(self, code: int, handles: Sequence[int], parameters: bytes, *, passwords: int = 1) -> bytes:
        """A command with passwords that are empty; what follows the response code (Part 1, section 18)."""
        sessions = _PASSWORD * passwords
        body = u32(code) + b"".join(u32(handle) for handle in handles)
        body += u32(len(sessions)) + sessions + parameters
        command, answer = b"\x80\x02" + u32(6 + len(body)) + body, self.file()
        for _ in range(_ATTEMPTS):
            self.tool("tpm2_send", "-o", answer, self.file(command))
            data = answer.read_bytes()
            response = int.from_bytes(data[6:10], "big")
            if response == 0:
                return data[10:]
            if response != _RETRY:
                break
        raise ProgramError(f"the TPM answers command {code:#x} with {response:#x}")

    def quote(self, ak: TpmKey, qualification: bytes) -> tuple[bytes, bytes]:
        """TPM2_Quote of one PCR: TPMS_ATTEST and TPMT_SIGNATURE."""
        attest, signature = self.file(), self.file()
        self.tool(
            *("tpm2_quote", "-c", f"{ak.handle:#x}", "-l", "sha256:0", "-q", qualification.hex()),
            *("-m", attest, "-s", signature),
        )
        return attest.read_bytes(), signature.read_bytes()

    def time(self, ak: TpmKey, qualification: bytes) -> tuple[bytes, bytes]:
        """TPM2_GetTime: TPMS_ATTEST and TPMT_SIGNATURE."""
        attest, signature = self.file(), self.file()
        self.tool(
            *("tpm2_gettime", "-c", f"{ak.handle:#x}", "-q", qualification.hex()),
            *("--attestation", attest, "-o", signature),
        )
        return attest.read_bytes(), signature.read_bytes()

    def creation(self, created: Created, ak: TpmKey, qualification: bytes) -> tuple[bytes, bytes]:
        """TPM2_CertifyCreation: TPMS_ATTEST and TPMT_SIGNATURE."""
        attest, signature = self.file(), self.file()
        self.tool(
            *("tpm2_certifycreation", "-C", f"{ak.handle:#x}", "-c", f"{created.key.handle:#x}"),
            *("-d", self.file(created.digest), "-t", self.file(created.ticket), "-q", qualification.hex()),
            *("-o", signature, "--attestation", attest),
        )
        return attest.read_bytes(), signature.read_bytes()

    def nv_contents(self, ak: TpmKey, qualification: bytes, contents: bytes) -> tuple[bytes, bytes]:
        """TPM2_NV_Certify of contents that anyone may write: TPMS_ATTEST and TPMT_SIGNATURE."""
        attest, signature = self.file(), self.file()
        self.tool("tpm2_nvdefine", _NV_INDEX, "-C", "o", "-s", str(len(contents)))
        self.tool("tpm2_nvwrite", _NV_INDEX, "-C", "o", "-i", self.file(contents))
        self.tool(
            *("tpm2_nvcertify", "-C", f"{ak.handle:#x}", "-c", "o", "-g", "sha256", "-f", "tss"),
            *("-q", qualification.hex(), "--size", str(len(contents))),
            *("-o", signature, "--attestation", attest, _NV_INDEX),
        )
        return attest.read_bytes(), signature.read_bytes()

    def sign(self, key: TpmKey, message: bytes, *, form: Literal["plain", "tss"] = "plain") -> bytes:
        """TPM2_Hash and TPM2_Sign with SHA-256: also a restricted key signs what the TPM itself digested.

        Returns:
            As X.509 has it, or a TPMT_SIGNATURE.
        """
        ticket, digest, signature = self.file(), self.file(), self.file()
        self.tool("tpm2_hash", "-C", "o", "-g", "sha256", "-o", digest, "-t", ticket, self.file(message))
        self.tool(
            *("tpm2_sign", "-c", f"{key.handle:#x}", "-g", "sha256", "-d", "-t", ticket),
            *("-f", form, "-o", signature, digest),
        )
        return signature.read_bytes()

    def csr(self, key: TpmKey, common_name: str = "board") -> bytes:
        """A PKCS#10 request (RFC 2986) that the key signs inside the TPM."""
        name = der(SEQUENCE, der(SET, der(SEQUENCE, _CN, der(_UTF8, common_name.encode()))))
        info = der(SEQUENCE, bytes.fromhex("020100"), name, key.spki, der(csr_attestation.ATTRIBUTES))
        algorithm = der(SEQUENCE, _CSR_ALGORITHMS[key.kind])
        return der(SEQUENCE, info, algorithm, der(0x03, b"\x00", self.sign(key, info)))


def _attributes(*names: str) -> bytes:
    """TPMA_OBJECT."""
    return u32(sum(ATTRIBUTES[name] for name in names))
