"""The page of tiles in a real browser: colours, words, room, and what it says when it hears nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from agent.adapters.shown.live_state import LiveState
from agent.core.events import BoardSeen, Finished, StepProgress, StepStarted, Waiting
from harness.factory_floor import BAD, ORDER, STEPS, busy_floor, chip, result
from harness.served_page import TIMEOUT_S, ServedPage, chromium

GREEN, RED, YELLOW = "rgba(0, 115, 79, 1)", "rgba(197, 34, 31, 1)", "rgba(245, 197, 24, 1)"
TABLET = (1280, 800)


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium(*TABLET) as started:
        yield started


def until(browser: Chrome, condition: Callable[[], Any]) -> Any:
    return WebDriverWait(browser, TIMEOUT_S, poll_frequency=0.1).until(lambda _: condition())


def look(browser: Chrome, page: ServedPage) -> None:
    browser.get("about:blank")
    complaints(browser)  # of a page before, whose server ended
    browser.get(page.url)
    until(browser, lambda: "lost" not in classes(body(browser)))


def classes(element: WebElement) -> list[str]:
    return str(element.get_attribute("class")).split()


def body(browser: Chrome) -> WebElement:
    return browser.find_element(By.TAG_NAME, "body")


def banner(browser: Chrome) -> WebElement:
    return browser.find_element(By.ID, "lost")


def tile(browser: Chrome, port: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, f'.tile[data-port="{port}"]')


def text(element: WebElement, part: str) -> str:
    return element.find_element(By.CLASS_NAME, part).text


def colour(element: WebElement) -> str:
    return element.value_of_css_property("background-color")


def complaints(browser: Chrome) -> list[str]:
    return [str(entry["message"]) for entry in browser.get_log("browser")]  # type: ignore[no-untyped-call]


def test_sixteen_ports_in_every_state(browser: Chrome) -> None:
    with ServedPage(busy_floor(16)) as page:
        look(browser, page)
        assert len(browser.find_elements(By.CLASS_NAME, "tile")) == 16
        shown = {
            port: (colour(tile(browser, port)), text(tile(browser, port), "word")) for port in ("1.1", "1.3")
        }
        assert shown == {"1.1": (GREEN, "PASS"), "1.3": (RED, "FAIL")}
        assert "Take the board to the repair desk" in text(tile(browser, "1.3"), "detail")
        assert "first_boot_loops at first-boot" in text(tile(browser, "1.3"), "detail")
        assert text(tile(browser, "1.1"), "serial") == "SN-000001"
        assert (colour(tile(browser, "2.3")), text(tile(browser, "2.3"), "word")) == (YELLOW, "waits")
        assert (colour(tile(browser, "2.4")), text(tile(browser, "2.4"), "word")) == (YELLOW, "PARKED")
        working = tile(browser, "1.2")
        assert (text(working, "word"), text(working, "share")) == ("flash", "22 %")
        assert colour(working) not in {GREEN, RED, YELLOW}
        assert text(tile(browser, "2.7"), "word") == "no board"
        assert text(tile(browser, "2.8"), "word") == "unplugged"
        counts = [browser.find_element(By.ID, name).text for name in ("order", "passed", "failed", "parked")]
        assert counts == [ORDER, "697", "9", "1"]
        assert browser.find_element(By.ID, "yield").text == "98.7 %"
        assert complaints(browser) == []


@pytest.mark.parametrize(
    ("size", "ports"),
    [(TABLET, 1), (TABLET, 4), (TABLET, 32), ((1024, 768), 16), ((800, 1280), 16), ((800, 1280), 32)],
)
def test_all_tiles_are_seen_without_scrolling(browser: Chrome, size: tuple[int, int], ports: int) -> None:
    width, height = size
    inner = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", inner)
    with ServedPage(busy_floor(ports)) as page:
        look(browser, page)
        boxes = [element.rect for element in browser.find_elements(By.CLASS_NAME, "tile")]
        assert len(boxes) == ports
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
        assert all(box["y"] > 40 and box["y"] + box["height"] <= height for box in boxes)
        assert min(box["width"] for box in boxes) > 90
        cut = """return [...document.querySelectorAll('.tile .word')]
            .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"""
        assert browser.execute_script(cut) == []
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": TABLET[0], "height": TABLET[1], "deviceScaleFactor": 1, "mobile": False},
    )


def test_a_board_comes_and_passes_while_the_page_is_open(browser: Chrome) -> None:
    live = LiveState(ORDER, STEPS)
    with ServedPage(live) as page:
        look(browser, page)
        live.ports_listed(["1"])
        until(browser, lambda: browser.find_elements(By.CLASS_NAME, "empty"))
        live(BoardSeen("1", chip(1)))
        live(StepStarted("1", "flash"))
        live(StepProgress("1", "flash", 30, 100))
        until(browser, lambda: text(tile(browser, "1"), "share") == "30 %")
        until(browser, lambda: text(tile(browser, "1"), "time") >= "0:01")
        live(Finished(result("1", 1)))
        until(browser, lambda: colour(tile(browser, "1")) == GREEN)
        assert browser.find_element(By.ID, "passed").text == "1"


def test_a_line_that_is_lost_is_said_in_big_letters_and_comes_back(browser: Chrome) -> None:
    page = ServedPage(busy_floor(4))
    with page:
        look(browser, page)
        assert not banner(browser).is_displayed()
    until(browser, lambda: "lost" in classes(body(browser)))
    assert banner(browser).is_displayed()
    assert "No line to the station" in banner(browser).text
    assert banner(browser).size == {"width": TABLET[0], "height": TABLET[1]}  # over every tile
    big = browser.find_element(By.ID, "lost-what").value_of_css_property("font-size")
    assert float(big.removesuffix("px")) > 60
    with page:
        until(browser, lambda: "lost" not in classes(body(browser)))
        assert not banner(browser).is_displayed()
    complaints(browser)  # refused connections: meant


def test_what_boards_say_is_text_and_nothing_else(browser: Chrome) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    live = LiveState(evil, STEPS)
    with ServedPage(live) as page:
        look(browser, page)
        before = browser.title
        finished = result(evil, 1, BAD)
        live(BoardSeen(evil, evil))
        live(StepStarted(evil, evil))
        live(Waiting(evil, evil))
        live.notice(evil)
        until(browser, lambda: browser.find_elements(By.CLASS_NAME, "waiting"))
        assert text(browser.find_element(By.CLASS_NAME, "tile"), "detail") == evil
        live(Finished(replace(finished, chip_id=evil, serial_number=evil, code=evil, remedy=evil, step=evil)))
        until(browser, lambda: browser.find_elements(By.CLASS_NAME, "fail"))
        shown = browser.find_element(By.CLASS_NAME, "tile")
        assert [text(shown, part) for part in ("place", "serial")] == [evil, evil]
        assert browser.find_element(By.ID, "notice").text.endswith(evil)
        assert browser.title == before
        assert browser.find_elements(By.TAG_NAME, "img") == []
        assert len(browser.find_elements(By.TAG_NAME, "script")) == 2
        assert complaints(browser) == []
