"""The page of tiles, served from a thread, and the browser that looks at it."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from agent.adapters.shown.live_state import LiveState
from agent.adapters.shown.page.server import PageServer
from agent.config import Page

TIMEOUT_S = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServedPage:
    """A page while it is entered. It may be entered again, at the same address."""

    def __init__(self, live: LiveState, *, hosts: tuple[str, ...] = (), journal: Path | None = None) -> None:
        self.live = live
        self.journal = journal
        self.port = free_port()
        self.page = Page(listen=f"127.0.0.1:{self.port}", hosts=hosts)
        self.url = f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(TIMEOUT_S)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001  (raised in the test's thread)
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        async with PageServer(self.page, self.live, self.journal) as self.server:
            self._ready.set()
            await self._end.wait()


@contextmanager
def chromium(width: int, height: int) -> Iterator[webdriver.Chrome]:
    """The system's browser without a screen. Skips where the system has none as a package; Debian has."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        missing = (
            "no chromium and chromedriver here; Ubuntu has them as snaps, which cannot be driven as root"
        )
        assert platform.freedesktop_os_release().get("ID") != "debian", (
            missing + " -- run deploy/setup/setup.sh"
        )
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--disable-dev-shm-usage", "--hide-scrollbars", "--lang=en"):
        options.add_argument(argument)
    if os.geteuid() == 0:  # its sandbox is not for root
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    try:
        started.set_page_load_timeout(TIMEOUT_S)
        inner = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        started.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", inner)
        yield started
    finally:
        started.quit()
