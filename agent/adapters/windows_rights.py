"""Rights of files on Windows, so far as mode 0600 of POSIX goes: this account, the station's service, the
system and administrators.

Who administers the machine reads everything anyway. Nothing is inherited from the folder. The service's
account is named before there is a service: its SID follows from its name, and nobody but that service has it.
"""

from __future__ import annotations

import msvcrt
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import ntsecuritycon
import pywintypes
import win32api
import win32con
import win32file
import win32security

from agent.core.service_account import SERVICE, sid_of_service

assert sys.platform == "win32", "the other systems have modes"  # noqa: S101 -- and mypy reads on only there

if TYPE_CHECKING:
    from _win32typing import PyACL, PySECURITY_ATTRIBUTES, PySECURITY_DESCRIPTOR, PySID

_SYSTEM, _ADMINISTRATORS, _SERVICE = "S-1-5-18", "S-1-5-32-544", sid_of_service(SERVICE)
_NAMES = {
    "S-1-1-0": "Everyone",
    "S-1-5-11": "Authenticated Users",
    "S-1-5-32-545": "Users",
    "S-1-5-4": "INTERACTIVE",
}
_DACL, _PROTECTED_DACL = (
    win32security.DACL_SECURITY_INFORMATION,
    win32security.PROTECTED_DACL_SECURITY_INFORMATION,
)
_INHERITED = win32security.OBJECT_INHERIT_ACE | win32security.CONTAINER_INHERIT_ACE
_MODIFY = ntsecuritycon.FILE_GENERIC_READ | ntsecuritycon.FILE_GENERIC_WRITE | ntsecuritycon.DELETE
_MODIFY |= ntsecuritycon.FILE_GENERIC_EXECUTE | ntsecuritycon.FILE_DELETE_CHILD


def create_private(path: Path) -> int:
    """A new file of private rights from its first moment; its descriptor, for writing. Raises OSError."""
    with _os_errors():
        handle = win32file.CreateFile(
            *(str(path), win32con.GENERIC_WRITE, 0, _attributes("")),
            *(win32con.CREATE_NEW, win32con.FILE_ATTRIBUTE_NORMAL, None),
        )
        return msvcrt.open_osfhandle(int(handle.Detach()), os.O_WRONLY | os.O_BINARY)


def create_private_directory(path: Path) -> None:
    """A new directory of private rights, which files in it inherit. Raises OSError."""
    with _os_errors():
        win32file.CreateDirectory(str(path), _attributes("OICI"))


def make_private(path: Path) -> None:
    """Gives a file that is there private rights. Raises OSError."""
    with _os_errors():
        win32security.SetFileSecurity(str(path), _DACL | _PROTECTED_DACL, _private_descriptor(""))


def let_service_use(folder: Path) -> None:
    """Lets the service's account read, write and delete in a folder, and in all that inherits from it.

    Raises OSError.
    """
    with _os_errors():
        descriptor = win32security.GetNamedSecurityInfo(str(folder), win32security.SE_FILE_OBJECT, _DACL)
        acl = descriptor.GetSecurityDescriptorDacl()
        if acl is None:
            return  # no list at all lets everybody in
        entry: dict[str, int | dict[str, int | PySID]] = {
            "AccessPermissions": _MODIFY,
            "AccessMode": win32security.GRANT_ACCESS,
            "Inheritance": _INHERITED,
            "Trustee": {
                "TrusteeForm": win32security.TRUSTEE_IS_SID,
                "TrusteeType": win32security.TRUSTEE_IS_USER,
                "Identifier": win32security.ConvertStringSidToSid(_SERVICE),
            },
        }
        acl.SetEntriesInAcl((entry,))  # changes it in place
        control, _ = descriptor.GetSecurityDescriptorControl()
        stays = _PROTECTED_DACL if control & win32security.SE_DACL_PROTECTED else 0
        # This call, unlike SetFileSecurity, also brings the entry to what is in the folder.
        win32security.SetNamedSecurityInfo(
            str(folder), win32security.SE_FILE_OBJECT, _DACL | stays, None, None, acl, None
        )


def others_with_rights(path: Path) -> tuple[str, ...]:
    """Who has any right to it, beside this account, the service's, the file's owner, the system and
    administrators.

    Raises OSError.
    """
    with _os_errors():
        what = win32security.OWNER_SECURITY_INFORMATION | _DACL
        descriptor = win32security.GetNamedSecurityInfo(str(path), win32security.SE_FILE_OBJECT, what)
        acl = descriptor.GetSecurityDescriptorDacl()
        if acl is None:
            return ("Everyone",)  # no list at all lets everybody in
        owner = _text(descriptor.GetSecurityDescriptorOwner())
        known = {_SYSTEM, _ADMINISTRATORS, _SERVICE, _this_account(), owner}
        found = [sid for sid in _allowed(acl) if sid not in known]
    return tuple(dict.fromkeys(_NAMES.get(sid, sid) for sid in found))


def _allowed(acl: PyACL) -> Iterator[str]:
    """The SIDs of entries that grant something here."""
    for number in range(acl.GetAceCount()):
        try:
            (kind, flags), _, sid = acl.GetAce(number)
        except NotImplementedError:
            yield "an entry of a type that files do not have"
            continue
        if flags & win32security.INHERIT_ONLY_ACE or kind == win32security.ACCESS_DENIED_ACE_TYPE:
            continue
        yield _text(sid)


def _private_descriptor(inheritance: str) -> PySECURITY_DESCRIPTOR:
    accounts = dict.fromkeys((_this_account(), _SERVICE, _SYSTEM, _ADMINISTRATORS))
    text = "D:P" + "".join(f"(A;{inheritance};FA;;;{sid})" for sid in accounts)
    return win32security.ConvertStringSecurityDescriptorToSecurityDescriptor(
        text, win32security.SDDL_REVISION_1
    )


def _attributes(inheritance: str) -> PySECURITY_ATTRIBUTES:
    attributes = pywintypes.SECURITY_ATTRIBUTES()
    attributes.SECURITY_DESCRIPTOR = _private_descriptor(inheritance)
    return attributes


def _this_account() -> str:
    token = win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32con.TOKEN_QUERY)
    return _text(win32security.GetTokenInformation(token, win32security.TokenUser)[0])


def _text(sid: PySID) -> str:
    return win32security.ConvertSidToStringSid(sid)


@contextmanager
def _os_errors() -> Iterator[None]:
    try:
        yield
    except pywintypes.error as error:
        raise OSError(None, error.strerror, None, error.winerror) from error
