"""Rights of files on Windows, so far as mode 0600 of POSIX goes: this account, the system and administrators.

Who administers the machine reads everything anyway. Nothing is inherited from the folder.
"""

from __future__ import annotations

import ctypes
import msvcrt
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, wintypes
from pathlib import Path

assert sys.platform == "win32", "the other systems have modes"  # noqa: S101 -- and mypy reads on only there

_SYSTEM, _ADMINISTRATORS = "S-1-5-18", "S-1-5-32-544"
_NAMES = {
    "S-1-1-0": "Everyone",
    "S-1-5-11": "Authenticated Users",
    "S-1-5-32-545": "Users",
    "S-1-5-4": "INTERACTIVE",
}
_SDDL_REVISION_1 = 1
_SE_FILE_OBJECT = 1
_OWNER, _DACL, _PROTECTED_DACL = 0x1, 0x4, 0x8000_0000
_GENERIC_WRITE, _CREATE_NEW, _FILE_ATTRIBUTE_NORMAL = 0x4000_0000, 1, 0x80
_TOKEN_QUERY, _TOKEN_USER = 0x8, 1
_ALLOWED, _DENIED, _ALLOWED_CALLBACK, _DENIED_CALLBACK = 0, 1, 9, 10  # types of entries
_INHERIT_ONLY = 0x8
_SID_OFFSET = 8  # in an entry, after header and mask
_INVALID_HANDLE = ctypes.c_void_p(-1).value


class _SecurityAttributes(ctypes.Structure):
    _fields_ = (
        ("length", wintypes.DWORD),
        ("descriptor", ctypes.c_void_p),
        ("inherit", wintypes.BOOL),
    )


class _SidAndAttributes(ctypes.Structure):
    _fields_ = (("sid", ctypes.c_void_p), ("attributes", wintypes.DWORD))


class _AclHeader(ctypes.Structure):
    _fields_ = (
        ("revision", ctypes.c_ubyte),
        ("zero", ctypes.c_ubyte),
        ("size", wintypes.WORD),
        ("entries", wintypes.WORD),
        ("zeros", wintypes.WORD),
    )


class _EntryHeader(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_ubyte), ("flags", ctypes.c_ubyte), ("size", wintypes.WORD))


_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)
_void = ctypes.c_void_p
_kernel32.LocalFree.argtypes = (_void,)
_kernel32.LocalFree.restype = _void
_kernel32.GetCurrentProcess.restype = wintypes.HANDLE
_kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)
_kernel32.CreateFileW.argtypes = (
    *(wintypes.LPCWSTR, wintypes.DWORD, wintypes.DWORD, POINTER(_SecurityAttributes)),
    *(wintypes.DWORD, wintypes.DWORD, wintypes.HANDLE),
)
_kernel32.CreateFileW.restype = _void
_kernel32.CreateDirectoryW.argtypes = (wintypes.LPCWSTR, POINTER(_SecurityAttributes))
_advapi32.OpenProcessToken.argtypes = (wintypes.HANDLE, wintypes.DWORD, POINTER(wintypes.HANDLE))
_advapi32.GetTokenInformation.argtypes = (
    *(wintypes.HANDLE, ctypes.c_int, _void, wintypes.DWORD, POINTER(wintypes.DWORD)),
)
_advapi32.ConvertSidToStringSidW.argtypes = (_void, POINTER(_void))
_advapi32.ConvertStringSecurityDescriptorToSecurityDescriptorW.argtypes = (
    *(wintypes.LPCWSTR, wintypes.DWORD, POINTER(_void), _void),
)
_advapi32.GetSecurityDescriptorDacl.argtypes = (
    *(_void, POINTER(wintypes.BOOL), POINTER(_void), POINTER(wintypes.BOOL)),
)
_advapi32.GetNamedSecurityInfoW.argtypes = (
    *(wintypes.LPCWSTR, ctypes.c_int, wintypes.DWORD, POINTER(_void), _void, POINTER(_void), _void),
    POINTER(_void),
)
_advapi32.GetNamedSecurityInfoW.restype = wintypes.DWORD
_advapi32.SetNamedSecurityInfoW.argtypes = (
    *(wintypes.LPCWSTR, ctypes.c_int, wintypes.DWORD, _void, _void, _void, _void),
)
_advapi32.SetNamedSecurityInfoW.restype = wintypes.DWORD
_advapi32.GetAce.argtypes = (_void, wintypes.DWORD, POINTER(_void))


def create_private(path: Path) -> int:
    """A new file of private rights from its first moment; its descriptor, for writing. Raises OSError."""
    with _private_descriptor("") as descriptor:
        attributes = _attributes(descriptor)
        handle = _kernel32.CreateFileW(
            str(path), _GENERIC_WRITE, 0, byref(attributes), _CREATE_NEW, _FILE_ATTRIBUTE_NORMAL, None
        )
    if handle in (None, _INVALID_HANDLE):
        raise _last_error()
    return msvcrt.open_osfhandle(handle, os.O_WRONLY | os.O_BINARY)


def create_private_directory(path: Path) -> None:
    """A new directory of private rights, which files in it inherit. Raises OSError."""
    with _private_descriptor("OICI") as descriptor:
        attributes = _attributes(descriptor)
        if not _kernel32.CreateDirectoryW(str(path), byref(attributes)):
            raise _last_error()


def make_private(path: Path) -> None:
    """Gives a file that is there private rights. Raises OSError."""
    with _private_descriptor("") as descriptor:
        present, defaulted, acl = wintypes.BOOL(), wintypes.BOOL(), _void()
        if not _advapi32.GetSecurityDescriptorDacl(descriptor, byref(present), byref(acl), byref(defaulted)):
            raise _last_error()
        what = _DACL | _PROTECTED_DACL
        _checked(_advapi32.SetNamedSecurityInfoW(str(path), _SE_FILE_OBJECT, what, None, None, acl, None))


def others_with_rights(path: Path) -> tuple[str, ...]:
    """Who has any right to it, beside this account, the file's owner, the system and administrators.

    Raises OSError.
    """
    owner, acl, descriptor = _void(), _void(), _void()
    _checked(
        _advapi32.GetNamedSecurityInfoW(
            *(str(path), _SE_FILE_OBJECT, _OWNER | _DACL, byref(owner), None, byref(acl), None),
            byref(descriptor),
        )
    )
    try:
        if not acl:
            return ("Everyone",)  # no list at all lets everybody in
        known = {_SYSTEM, _ADMINISTRATORS, _this_account(), _sid_text(owner)}
        found = [sid for sid in _allowed(acl) if sid not in known]
    finally:
        _kernel32.LocalFree(descriptor)
    return tuple(dict.fromkeys(_NAMES.get(sid, sid) for sid in found))


def _allowed(acl: ctypes.c_void_p) -> Iterator[str]:
    """The SIDs of entries that grant something here."""
    assert acl.value is not None  # noqa: S101 -- the caller has looked
    for number in range(_AclHeader.from_address(acl.value).entries):
        entry = _void()
        if not _advapi32.GetAce(acl, number, byref(entry)) or entry.value is None:
            raise _last_error()
        header = _EntryHeader.from_address(entry.value)
        if header.flags & _INHERIT_ONLY or header.kind in (_DENIED, _DENIED_CALLBACK):
            continue
        if header.kind in (_ALLOWED, _ALLOWED_CALLBACK):
            yield _sid_text(_void(entry.value + _SID_OFFSET))
        else:
            yield f"an entry of type {header.kind}"  # of a kind that files do not have


@contextmanager
def _private_descriptor(inheritance: str) -> Iterator[ctypes.c_void_p]:
    accounts = dict.fromkeys((_this_account(), _SYSTEM, _ADMINISTRATORS))
    text = "D:P" + "".join(f"(A;{inheritance};FA;;;{sid})" for sid in accounts)
    descriptor = _void()
    if not _advapi32.ConvertStringSecurityDescriptorToSecurityDescriptorW(
        text, _SDDL_REVISION_1, byref(descriptor), None
    ):
        raise _last_error()
    try:
        yield descriptor
    finally:
        _kernel32.LocalFree(descriptor)


def _attributes(descriptor: ctypes.c_void_p) -> _SecurityAttributes:
    return _SecurityAttributes(ctypes.sizeof(_SecurityAttributes), descriptor, False)  # noqa: FBT003 -- as Windows has it


def _this_account() -> str:
    token, needed = wintypes.HANDLE(), wintypes.DWORD()
    if not _advapi32.OpenProcessToken(_kernel32.GetCurrentProcess(), _TOKEN_QUERY, byref(token)):
        raise _last_error()
    try:
        _advapi32.GetTokenInformation(token, _TOKEN_USER, None, 0, byref(needed))
        user = ctypes.create_string_buffer(needed.value)
        if not _advapi32.GetTokenInformation(token, _TOKEN_USER, user, needed, byref(needed)):
            raise _last_error()
        return _sid_text(_void(_SidAndAttributes.from_buffer(user).sid))
    finally:
        _kernel32.CloseHandle(token)


def _sid_text(sid: ctypes.c_void_p) -> str:
    text = _void()
    if not _advapi32.ConvertSidToStringSidW(sid, byref(text)) or text.value is None:
        raise _last_error()
    try:
        return ctypes.wstring_at(text.value)
    finally:
        _kernel32.LocalFree(text)


def _checked(code: int) -> None:
    if code:
        raise ctypes.WinError(code)


def _last_error() -> OSError:
    return ctypes.WinError(ctypes.get_last_error())
