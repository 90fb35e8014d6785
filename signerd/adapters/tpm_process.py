"""The program that speaks to a TPM 2.0: `python -P -m signerd.adapters.tpm_process`.

One order in CBOR on standard input, one answer on standard output, and it ends. The TSS' C libraries are in
no other process of signerd's. It seals a key of 32 bytes, and opens it again:

- under the persistent storage key 0x81000001 if the TPM has one, else the owner's primary key of the TCG's
  P-256 template;
- each command that carries the key runs in a session that is salted with that parent and encrypts parameters
  (Part 1, sections 19.6 and 21): what listens between processor and TPM sees ciphertext. An opening goes on
  only with the very parent that sealed, so that nobody in between puts a key of his own in its place;
- no authorisation value, and no part in the lockout of dictionary attacks (noDA): there is nothing to guess;
- on request, only while PCRs have the values that they had when it was sealed.

Nothing stays in the TPM.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

# Before the libraries are loaded: they write of their own on standard error.
os.environ["TSS2_LOG"] = "all+none"

from tpm2_pytss import ESAPI, ESYS_TR, TPM2_ALG, TPM2_SE, TSS2_Exception
from tpm2_pytss.constants import TPMA_OBJECT, TPMA_SESSION
from tpm2_pytss.types import (
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPML_PCR_SELECTION,
    TPMS_SENSITIVE_CREATE,
    TPMT_PUBLIC,
    TPMT_SYM_DEF,
    TPMU_SYM_KEY_BITS,
    TPMU_SYM_MODE,
)

from signerd.adapters.keyholder.hardening import close_memory, die_with_parent
from signerd.core.strict_cbor import decode, encode

STORAGE_ROOT_KEY = 0x8100_0001  # TCG TPM v2.0 Provisioning Guidance, section 7.5.1
_MAX_ORDER = 16_384  # bytes
_NOT_THERE = 0x8B  # TPM_RC_HANDLE, of whatever handle
_PRIMARY = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"
_STORAGE = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT
_SEALED = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.NODA
_ENCRYPTS = TPMA_SESSION.DECRYPT | TPMA_SESSION.ENCRYPT | TPMA_SESSION.CONTINUESESSION


class _Stopped(Exception):  # noqa: N818 (an answer, like any)
    """There is no use in going on; a word for why."""


class _Tpm:
    """One connection. What it puts into the TPM it takes out again when `stack` ends."""

    def __init__(self, esapi: ESAPI, stack: ExitStack, pcrs: list[int]) -> None:
        self._esapi = esapi
        self._stack = stack
        self._pcrs = TPML_PCR_SELECTION.parse(f"sha256:{','.join(map(str, pcrs))}") if pcrs else None

    def seal(self, secret: bytes) -> list[Any]:
        """A new object with the secret: parent's handle, its name, public and private area."""
        handle, parent = self._any_parent()
        session = self._session(parent, TPM2_SE.HMAC)
        public = TPMT_PUBLIC(type=TPM2_ALG.KEYEDHASH, nameAlg=TPM2_ALG.SHA256)
        public.parameters.keyedHashDetail.scheme.scheme = TPM2_ALG.NULL
        public.objectAttributes = _SEALED
        if self._pcrs is None:
            public.objectAttributes |= TPMA_OBJECT.USERWITHAUTH
        else:
            public.authPolicy = self._policy(parent, TPM2_SE.TRIAL, self._pcrs)[1]
        sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(data=secret))
        private, public, *_ = self._esapi.create(parent, sensitive, TPM2B_PUBLIC(public), session1=session)
        return [handle, self._name(parent), bytes(public.marshal()), bytes(private.marshal())]

    def open(self, handle: int, name: bytes, public: bytes, private: bytes) -> list[Any]:
        """The secret of such an object."""
        parent = self._parent(handle)
        if parent is None or self._name(parent) != name:
            raise _Stopped("other-tpm")
        areas = _area(TPM2B_PRIVATE, private), _area(TPM2B_PUBLIC, public)
        session = self._session(parent, TPM2_SE.HMAC)
        item = self._flushed(self._esapi.load(parent, *areas, session1=session))
        if self._pcrs is not None:
            session, _ = self._policy(parent, TPM2_SE.POLICY, self._pcrs)
        return [bytes(self._esapi.unseal(item, session1=session))]

    def _any_parent(self) -> tuple[int, ESYS_TR]:
        kept = self._parent(STORAGE_ROOT_KEY)
        if kept is None:
            return 0, self._primary()
        public, *_ = self._esapi.read_public(kept)
        if public.publicArea.objectAttributes & _STORAGE != _STORAGE:
            raise _Stopped("no-storage-key")
        return STORAGE_ROOT_KEY, kept

    def _parent(self, handle: int) -> ESYS_TR | None:
        if handle == 0:
            return self._primary()
        try:
            return self._esapi.tr_from_tpmpublic(handle)
        except TSS2_Exception as error:
            if error.error == _NOT_THERE:
                return None
            raise

    def _primary(self) -> ESYS_TR:
        template = TPM2B_PUBLIC.parse("ecc256:null:aes128cfb", objectAttributes=_PRIMARY, nameAlg="sha256")
        parent, *_ = self._esapi.create_primary(None, template, ESYS_TR.OWNER)
        return self._flushed(parent)

    def _name(self, key: ESYS_TR) -> bytes:
        """By the public area that the TPM gave, from which the library computes it."""
        return bytes(self._esapi.tr_get_name(key))

    def _session(self, parent: ESYS_TR, kind: TPM2_SE) -> ESYS_TR:
        cipher = TPMT_SYM_DEF(
            algorithm=TPM2_ALG.AES,
            keyBits=TPMU_SYM_KEY_BITS(sym=128),
            mode=TPMU_SYM_MODE(sym=TPM2_ALG.CFB),
        )
        session = self._esapi.start_auth_session(parent, ESYS_TR.NONE, kind, cipher, TPM2_ALG.SHA256)
        self._esapi.trsess_set_attributes(session, _ENCRYPTS)
        return self._flushed(session)

    def _policy(self, parent: ESYS_TR, kind: TPM2_SE, pcrs: TPML_PCR_SELECTION) -> tuple[ESYS_TR, Any]:
        """A session in which PCRs were looked at, and the digest of that policy."""
        _, there, _ = self._esapi.pcr_read(pcrs)
        if bytes(there.marshal()) != bytes(pcrs.marshal()):
            raise _Stopped("no-sha256-pcrs")
        session = self._session(parent, kind)
        self._esapi.policy_pcr(session, b"", pcrs)
        return session, self._esapi.policy_get_digest(session)

    def _flushed(self, handle: ESYS_TR) -> ESYS_TR:
        self._stack.callback(self._esapi.flush_context, handle)
        return handle


def _area(kind: Any, data: bytes) -> Any:
    try:
        area, size = kind.unmarshal(data)
    except TSS2_Exception as error:
        raise _Stopped("altered") from error
    if size != len(data):
        raise _Stopped("altered")
    return area


def _done(tcti: str, pcrs: list[int], work: Callable[[_Tpm], list[Any]]) -> list[Any]:
    try:
        with ESAPI(tcti) as esapi, ExitStack() as stack:
            return ["done", *work(_Tpm(esapi, stack, pcrs))]
    except TSS2_Exception as error:
        return ["tpm", int(error.rc), str(error)]
    except _Stopped as stopped:
        return ["stopped", str(stopped)]


def _answer(order: Any) -> list[Any]:
    match order:
        case ["seal", str(tcti), list(pcrs), bytes(secret)]:
            return _done(tcti, pcrs, lambda tpm: tpm.seal(secret))
        case ["open", str(tcti), list(pcrs), int(handle), bytes(name), bytes(public), bytes(private)]:
            return _done(tcti, pcrs, lambda tpm: tpm.open(handle, name, public, private))
        case _:
            raise ValueError("no order")


def main() -> int:
    """Answers one order. What it does not expect ends it with a traceback, in which no value stands."""
    close_memory()
    die_with_parent()
    sys.stdout.buffer.write(encode(_answer(decode(sys.stdin.buffer.read(_MAX_ORDER), max_bytes=_MAX_ORDER))))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
