"""The files, functions and tests that the documents name exist. Whoever moves one changes the document too."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[3]
DOCUMENTS: Final = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/OPERATING.md")


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def names_in(path: Path) -> set[str]:
    """Functions and methods, the latter as `Class.method`."""
    tree = ast.parse(path.read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = {
        f"{found.name}.{node.name}"
        for found in classes
        for node in found.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return functions | methods | {found.name for found in classes}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files(name: str) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text_of(name))
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paths_exist(name: str) -> None:
    paths = re.findall(r"`((?:services|shared|deploy|tests)/[\w/.]*\w)(?:[:/][^`]*)?`", text_of(name))
    generated = {"deploy/env"}
    assert [path for path in paths if path not in generated and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_functions_and_tests_exist(name: str) -> None:
    named = re.findall(r"`([\w/]+\.py)::?([\w.]+)`", text_of(name))
    assert [f"{path}:{found}" for path, found in named if found not in names_in(ROOT / path)] == []


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 165


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_a_document_holds_no_old_term(name: str) -> None:
    old = r"\b(told afresh|doorbell|handed back|the sweep|sweeps|the brief|express path|settles?)\b"
    assert re.findall(old, text_of(name)) == []
