"""The verifier page in a browser, as a person uses it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from harness.served_page import TIMEOUT_S

_FILL = "[vkey, root] = [...document.querySelectorAll('#vkey, #root')]; [vkey.value, root.value] = arguments"


@dataclass(frozen=True)
class Shown:
    """The verdict, the class that gives it its colour, and all lines."""

    state: str
    verdict: str
    text: str


class VerifierPage:
    """`page`: its file."""

    def __init__(self, browser: Chrome, page: Path) -> None:
        self._browser = browser
        self._url = page.as_uri()
        self.complaints()  # of a page before
        browser.get(self._url)

    def verify(self, archive: Path, key: str, root: str, *, waits: bool = True) -> Shown:
        """Gives an archive, a verifier key and the digest of a root, and waits for the verdict."""
        self._browser.execute_script(_FILL, key, root)  # typed, they take half a second
        self._browser.find_element(By.ID, "file").send_keys(str(archive))
        self._browser.find_element(By.ID, "go").click()
        if waits:
            WebDriverWait(self._browser, TIMEOUT_S, poll_frequency=0.02).until(lambda _: self._state())
        verdict = self._browser.find_element(By.ID, "verdict").text
        return Shown(self._state(), verdict, self._browser.find_element(By.ID, "steps").text)

    def complaints(self) -> list[str]:
        """What the browser wrote to its console since it was asked last."""
        return [str(entry["message"]) for entry in self._browser.get_log("browser")]  # type: ignore[no-untyped-call]

    def _state(self) -> str:
        return str(self._browser.find_element(By.ID, "verdict").get_attribute("class"))
