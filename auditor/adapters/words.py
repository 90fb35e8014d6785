"""Texts that come again in many rows: names of orders and stations, what certificates are of."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

_CACHED = 4_096  # of an honest log there are few


class Words:
    """Texts that come again, by number."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._numbers: dict[str, int] = {}
        self._words: dict[int, str] = {}
        self._values: dict[int, dict[str, Any]] = {}

    def forget(self) -> None:
        """What was added may have been rolled back."""
        self._numbers.clear()
        self._words.clear()
        self._values.clear()

    def number(self, word: str) -> int:
        """Its number; a new one if it is new."""
        number = self._numbers.get(word)
        if number is None:
            self._db.execute("INSERT OR IGNORE INTO words (word) VALUES (?)", (word,))
            (number,) = self._db.execute("SELECT id FROM words WHERE word = ?", (word,)).fetchone()
            self._remember(number, word)
        return number

    def known(self, word: str) -> int:
        """Its number; 0 if it has none."""
        found = self._db.execute("SELECT id FROM words WHERE word = ?", (word,)).fetchone()
        return 0 if found is None else int(found[0])

    def word(self, number: int) -> str:
        """The text."""
        word = self._words.get(number)
        if word is None:
            (word,) = self._db.execute("SELECT word FROM words WHERE id = ?", (number,)).fetchone()
            self._remember(number, word)
        return word

    def value(self, number: int) -> dict[str, Any]:
        """The text, read as JSON."""
        value = self._values.get(number)
        if value is None:
            value = self._values[number] = json.loads(self.word(number))
        return value

    def _remember(self, number: int, word: str) -> None:
        if len(self._words) >= _CACHED:
            self.forget()
        self._numbers[word], self._words[number] = number, word
