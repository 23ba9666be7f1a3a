"""How the runtime makes processes: a fork of an interpreter would carry its threads, finalizers and handlers with it."""

from __future__ import annotations

import ast
import pathlib

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "pyoci_systemd"
COPIES = {"fork", "forkpty", "Thread", "start_new_thread", "ThreadPoolExecutor"}


def names(source: str) -> set[str]:
    """Return what is called, or taken from a module, by name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names}
    return found


def test_python_makes_no_process_of_itself() -> None:
    guilty = [str(path) for path in PACKAGE.rglob("*.py") if names(path.read_text()) & COPIES]
    assert guilty == []
    assert names("import os\nif os.fork(): pass") & COPIES
    assert names("from threading import Thread") & COPIES
