"""Each fuzz target in the normal run: its genuine inputs, the kept corpus, and mutations by hypothesis."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.request_targets import close_line
from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.fixture(scope="module", autouse=True)
def line_closed() -> Iterator[None]:
    yield
    close_line()


@cache
def seeds(name: str) -> list[bytes]:
    return TARGETS[name].seeds()


def kept() -> Iterator[tuple[str, Path]]:
    for folder in sorted(CORPUS.iterdir()):
        for path in sorted(folder.iterdir()):
            yield folder.name, path


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_genuine_inputs_are_answered(name: str) -> None:
    assert seeds(name)
    for seed in seeds(name):
        TARGETS[name].run(seed)


@pytest.mark.parametrize(("name", "path"), list(kept()), ids=lambda value: getattr(value, "name", value))
def test_inputs_that_fuzzing_kept_are_answered(name: str, path: Path) -> None:
    TARGETS[name].run(path.read_bytes())


@pytest.mark.parametrize("name", sorted(TARGETS))
@settings(max_examples=60)
@given(data=st.data())
def test_any_bytes_are_answered(name: str, data: st.DataObject) -> None:
    TARGETS[name].run(data.draw(st.binary(max_size=400)))


@pytest.mark.parametrize("name", sorted(TARGETS))
@settings(max_examples=120)
@given(data=st.data())
def test_mutations_of_genuine_inputs_are_answered(name: str, data: st.DataObject) -> None:
    seed = bytearray(data.draw(st.sampled_from(seeds(name))))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, max(len(seed) - 1, 0)))
        length = data.draw(st.sampled_from([0, 0, 1, 2, 8]))
        seed[position : position + length] = data.draw(st.binary(max_size=8))
    TARGETS[name].run(bytes(seed))
