"""What Wine 8 lacks and Windows has, so far as the station asks for it. For the test bed alone."""

import ctypes
from ctypes import wintypes

_TIMEOUT = 1460  # ERROR_TIMEOUT
# In a program that PyInstaller made, the classes of libraries are its own, above those of ctypes.
_library = next(kind for kind in ctypes.WinDLL.__mro__ if "__getattr__" in vars(kind))
_named = _library.__getattr__


@ctypes.WINFUNCTYPE(wintypes.DWORD, wintypes.DWORD, wintypes.DWORD)
def _same_error(_code, default):
    return default


def _attribute(library, name):
    # pyserial asks cfgmgr32 for it on import, and calls it where listing ports failed.
    return _same_error if name == "CM_MapCrToWin32Err" else _named(library, name)


_library.__getattr__ = _attribute

from serial import serialwin32  # noqa: E402 -- only now does it import

_overlapped = serialwin32.win32.GetOverlappedResult


def _overlapped_result(handle, overlapped, transferred, wait):
    """Windows ends a read in which nothing came with success and no bytes, Wine with an error of its own."""
    done = _overlapped(handle, overlapped, transferred, wait)
    return 1 if not done and serialwin32.win32.GetLastError() == _TIMEOUT else done


serialwin32.win32.GetOverlappedResult = _overlapped_result
