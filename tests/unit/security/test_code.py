"""What the program's own text must not do; docs/security.md says why."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import rucio_inject

ROOT = Path(rucio_inject.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# Calls that run text, or make objects out of bytes.
RUNS_TEXT = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "pickle.load",
    "pickle.loads",
    "marshal.loads",
}


@cache
def calls(path: Path) -> tuple[ast.Call, ...]:
    """Every call in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.Call))


@cache
def name_of(node: ast.Call) -> str:
    """What is called, as it is written."""
    return ast.unparse(node.func)


def told(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', '?')}"


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 200


def test_tls_is_verified_everywhere() -> None:
    odd = [
        told(path, node)
        for path in FILES
        for node in calls(path)
        for keyword in node.keywords
        if keyword.arg in {"verify", "check_hostname", "ssl_verify"}
        and isinstance(keyword.value, ast.Constant)
        and not keyword.value.value
    ]
    assert odd == []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        for word in ("CERT_NONE", "_create_unverified_context", "check_hostname = False"):
            assert word not in text, f"{path.name} has {word}"


def test_no_text_is_run_and_no_object_is_loaded() -> None:
    odd = [
        f"{told(path, node)} {name_of(node)}"
        for path in FILES
        for node in calls(path)
        if name_of(node) in RUNS_TEXT
    ]
    assert odd == []


def test_no_shell_is_asked() -> None:
    odd = [
        told(path, node)
        for path in FILES
        for node in calls(path)
        for keyword in node.keywords
        if keyword.arg == "shell"
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    ]
    assert odd == []


def test_yaml_is_read_without_objects() -> None:
    kinds = [
        ast.unparse(keyword.value)
        for path in FILES
        for node in calls(path)
        if name_of(node) == "YAML"
        for keyword in node.keywords
        if keyword.arg == "typ"
    ]
    assert kinds
    assert set(kinds) <= {"'rt'", "'safe'"}


@pytest.mark.parametrize("word", ["md5", "sha1"])
def test_weak_digests_protect_nothing(word: str) -> None:
    """They are Rucio's checksums, and say so where they are made."""
    odd = [
        told(path, node)
        for path in FILES
        for node in calls(path)
        if name_of(node) == f"hashlib.{word}"
        and not any(keyword.arg == "usedforsecurity" for keyword in node.keywords)
    ]
    assert odd == []
