"""No two modules import each other, over however many others."""

from __future__ import annotations

import grimp
import pytest

# Its table of methods is asked by the rules of products, at run time. The methods know only their own rules.
KNOWN = "signerd.core.evidence"


def outer(graph: grimp.ImportGraph) -> set[str]:
    """What is left when modules that no other imports, or that import no other, are taken away."""
    left = {module for module in graph.modules if not module.startswith(KNOWN)}
    while True:
        ends = {
            module
            for module in left
            if not graph.find_modules_directly_imported_by(module) & left
            or not graph.find_modules_that_directly_import(module) & left
        }
        if not ends:
            return left
        left -= ends


@pytest.mark.parametrize("program", ["agent", "auditor", "signerd"])
def test_no_circle(program: str) -> None:
    assert outer(grimp.build_graph(program, cache_dir=None)) == set()


def test_a_circle_is_found() -> None:
    graph = grimp.ImportGraph()
    for module in ("a", "b", "c", "d"):
        graph.add_module(module)
    for importer, imported in (("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")):
        graph.add_import(importer=importer, imported=imported)
    assert outer(graph) == {"b", "c"}
