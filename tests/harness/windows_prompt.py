"""A PC with Windows on which nothing is installed yet, and an administrator's prompt on it.

    with fresh_pc(directory) as fresh:
        fresh.without_network()
        said = fresh.prompt(folder, ['py -3.13 wheelhouse\\\\install.py "C:\\\\Program Files\\\\Birthmark"'])

It has a drive C: of its own. What Wine 8 and the bed's CPython lack is put beside them: `CopyFile2`, in whose
place shutil has a way of its own, the launchers of environments, for which python.exe itself stands in, and
what sitecustomize.py of the bed has for pyserial. `py` is that Python.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import wheelhouses
from harness.windows_pc import Ended, WindowsPc, WindowsProgram, windows_path, windows_pc

PYTHON = "3.13"  # the bed's
INSTALL_S = 1200.0
# What Wine 8 has as a program that ends with 0 and does nothing.
STUBS = ("certutil", "icacls")
_LAUNCHERS = ("venvlauncher.exe", "venvwlauncher.exe")
_MACHINE = r"HKLM\System\CurrentControlSet\Control\Session Manager\Environment"
_LACKING = """
import _winapi
import importlib.util
del _winapi.CopyFile2
if importlib.util.find_spec("serial"):
    import wine_and_pyserial
"""


class FreshPc:
    """A Python with its standard library alone, and a drive C:."""

    def __init__(self, pc: WindowsPc, directory: Path) -> None:
        self.pc = pc
        self._python = directory / "python"
        self._make_python(pc.bed / "python")
        pc.power_cut()  # the bed's own drive is not used
        self.drive = _own_prefix(pc.bed / "prefix", directory / "prefix") / "drive_c"
        del pc.environment["PYTHONDONTWRITEBYTECODE"]
        pc.environment.pop("PYTHONPATH", None)
        pc.environment["WINEPREFIX"] = str(directory / "prefix")
        # Where stand-ins find python313.dll, as services too.
        path = rf"%SystemRoot%\system32;%SystemRoot%;{windows_path(self._python)}"
        added = pc.tool("reg", "add", _MACHINE, "/v", "PATH", "/t", "REG_EXPAND_SZ", "/d", path, "/f")
        assert added.code == 0, added

    def _make_python(self, bed: Path) -> None:
        ignored = shutil.ignore_patterns("site-packages", "pip-*.dist-info")
        shutil.copytree(bed, self._python, ignore=ignored, copy_function=os.link)
        library = self._python / "Lib"
        (library / "site-packages").mkdir()
        (library / "sitecustomize.py").write_text(_LACKING, "ascii")
        shutil.copy(bed / "Lib" / "site-packages" / "sitecustomize.py", library / "wine_and_pyserial.py")
        for name in _LAUNCHERS:
            shutil.copy(self._python / "python.exe", library / "venv" / "scripts" / "nt" / name)

    def without_network(self) -> None:
        """From now on there is a loopback of its own and nothing else."""
        self.pc.power_cut()
        server = wheelhouses.without_a_network("wineserver", "--persistent")  # it makes all programs' sockets
        subprocess.run(server, env=self.pc.environment, check=True, stdin=subprocess.DEVNULL)

    def with_network(self) -> None:
        """From now on it reaches what listens on this machine."""
        self.pc.power_cut()
        self.pc.power_on()

    def start(self, folder: Path, lines: Sequence[str]) -> WindowsProgram:
        """Begins with these lines in this folder. The first that fails is the last."""
        for line in lines:
            assert line.split()[0] not in STUBS, f"Wine does nothing here, and calls it a success: {line}"
        python = f'"{windows_path(self._python)}\\python.exe"'
        given = [re.sub(r"^py -3\.\d+ ", lambda _: f"{python} ", line) for line in lines]
        script = "\r\nif errorlevel 1 exit /b 1\r\n".join(
            [f'@echo off\r\ncd /d "{windows_path(folder)}"', *given]
        )
        file = folder / "lines.bat"
        file.write_bytes(f"{script}\r\n".encode("ascii"))
        return self.pc.run("cmd", "/c", file)

    def prompt(self, folder: Path, lines: Sequence[str], *, timeout_s: float = INSTALL_S) -> Ended:
        """The same, to the end."""
        with self.start(folder, lines) as running:
            return running.wait(timeout_s)


def _own_prefix(bed: Path, own: Path) -> Path:
    """The bed's, whose registry is written from now on."""
    own.mkdir()
    for each in bed.iterdir():
        if each.is_dir():
            shutil.copytree(each, own / each.name, symlinks=True, copy_function=_shared)
        else:
            shutil.copy(each, own / each.name)
    return own


def _shared(source: str, copy: str) -> None:
    """Only programs are shared: what Windows writes is not."""
    if source.endswith((".dll", ".exe")):
        os.link(source, copy)
    else:
        shutil.copy(source, copy)


@contextlib.contextmanager
def fresh_pc(directory: Path) -> Iterator[FreshPc]:
    """A PC of this test's own until the context ends. Without Wine, the test is skipped by name."""
    (directory / "pc").mkdir()
    with windows_pc(directory / "pc") as pc:
        yield FreshPc(pc, directory)
