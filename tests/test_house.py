"""The laws of the house (HACKING.md), each with a sample that breaks it: a law that cannot bite is no law.

Each `law_*` takes a checkout and returns what breaks the law there, one line a breach.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = "pyoci_systemd"

# What a room may import besides itself and the modules of the ground floor.
WORKROOMS = {"spec", "plan", "init", "systemd", "cgroup"}
MAY_IMPORT: dict[str, set[str]] = {
    "__main__": {"main"},
    "archive": set(),
    "main": {"cli", "container", *WORKROOMS},
    "cli": {"container", *WORKROOMS},
    "service": {"container", *WORKROOMS},
    "container": WORKROOMS,
    "plan": {"spec"},
    **{room: set() for room in WORKROOMS - {"plan"}},
}
GROUND_FLOOR = set(
    "cgroupfile errors jsonio jsonfault kernelfs log signalname sinks record settings sitepath __init__".split()
)

# Guests and the only places that may receive them.
GUESTS = {
    "click": ("cli/",),
    "jsonschema": ("spec/judge.py", "spec/generate.py"),
    "dbus_next": ("service/",),
    "pystemd": ("systemd/inspection.py",),
}

IMPURE = set("os posix io pathlib shutil fcntl select socket _socket signal _signal ctypes subprocess time".split())
MAY_BE_IMPURE = {
    "spec/schema/__init__.py": "reads the schema that lies beside it, for the judge and the generator",
    "spec/judge.py": "the cold path: reads the schema",
    "spec/generate.py": "run by the build: reads the schema, writes the validator",
    "plan/header.py": "run by the build: writes ops.h",
}

HOT_VERBS = ("create", "start", "run", "state", "kill", "delete")
TOO_SLOW_TO_IMPORT = set(
    "os click jsonschema dbus_next pystemd json re enum typing dataclasses subprocess asyncio logging pathlib struct"
    " signal socket ctypes collections".split()
)

LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 60
LINES_OF_C = 1000
LONG_FILES = {
    "pyoci_systemd/spec/validator.py": "made by the build, read by nobody",
    "pyoci_systemd/plan/ops.py": "one table",
    "tests/unit/bad_configs.py": "one table",
    "tests/unit/test_bus.py": "one table and one fake bus for a whole protocol",
    "tests/integration/test_bad_input.py": "one table",
    "tests/integration/test_exec.py": "one verb and all its options",
    "tests/integration/test_hooks.py": "six kinds of hooks and one table of their life",
    "tests/integration/test_terminals.py": "one terminal, handed over or kept, seen from both sides",
    "tests/integration/test_process.py": "one process section, seen from inside",
    "tests/integration/test_crashes.py": "one container's life and all that may cut it short",
}
LONG_FUNCTIONS: dict[str, str] = {}

# Where a reader may be sent: those who define what we implement.
HOSTS = re.compile(
    r"([\w.-]+\.)?(freedesktop|opencontainers|json-schema|kernel|man7|systemd|gnu|python|debian|cve|example)\.(org|io)$"
    r"|(www\.)?github\.com$|localhost$|127\.0\.0\.1$"
)
# Split, so that this file does not break its own law.
HOME, HOST = "/" + "home/", "mirror.internal"
PATHS_OF_ONE_MACHINE = (HOME, "/" + "work/", "/" + "root/.")


class Source(NamedTuple):
    """A Python file: its statements, and the dotted names it imports; those of the package begin with a dot."""

    tree: ast.Module
    statements: list[ast.stmt]
    imports: list[str]


@functools.cache
def sources(checkout: pathlib.Path) -> dict[str, Source]:
    """Return the Python files of the package by their paths below it, each of them read once for all laws."""
    package, found = checkout / PACKAGE, {}
    for path in sorted(package.rglob("*.py")):
        name, tree = str(path.relative_to(package)), ast.parse(path.read_bytes())
        every = list(statements(tree))
        found[name] = Source(tree, every, list(imports(name, every)))
    return found


def statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """Yield the statements of a tree, however deep: a tenth of its nodes."""
    for field in ("body", "handlers", "orelse", "finalbody", "cases"):
        inner = getattr(tree, field, ())
        for node in inner if isinstance(inner, list) else ():
            if isinstance(node, ast.stmt):
                yield node
            yield from statements(node)


def texts(checkout: pathlib.Path, *suffixes: str) -> Iterator[tuple[str, str]]:
    """Yield the files of the checkout that are ours, as path and text."""
    return ((path, text) for path, text in every_text(checkout) if not suffixes or path.endswith(suffixes))


@functools.cache
def every_text(checkout: pathlib.Path) -> list[tuple[str, str]]:
    """Return the files of the checkout that are ours, as path and text, each of them read once for all laws."""
    whole = []
    ours = [checkout / name for name in (PACKAGE, "tests", "packaging", "dbus", "units", ".ci")]
    found = [path for directory in ours for path in directory.rglob("*")]
    for path in sorted([*found, *checkout.glob("*")]):
        generated = {"__pycache__", ".hypothesis", "node_modules", ".git"} & set(path.parts)
        if path.is_file() and not generated:
            with contextlib.suppress(UnicodeDecodeError):
                whole.append((str(path.relative_to(checkout)), path.read_text()))
    return whole


def imports(path: str, statements: list[ast.stmt]) -> Iterator[str]:
    """Yield the dotted names that the module at `path` imports; those of the package begin with a dot."""
    here = pathlib.PurePath(path).parent.parts
    for node in statements:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield "." + alias.name.removeprefix(f"{PACKAGE}.") if own(alias.name) else alias.name
        elif isinstance(node, ast.ImportFrom) and node.level:
            above = here[: len(here) - node.level + 1]
            module = node.module.split(".") if node.module else []
            for alias in node.names:
                yield "." + ".".join([*above, *module, alias.name])
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield "." + name.removeprefix(f"{PACKAGE}.") if own(name) else node.module


def own(module: str) -> bool:
    return module.split(".")[0] == PACKAGE


def room(path: str) -> str:
    """Return the room of a file or a dotted name: its first part."""
    return re.split(r"[./]", path.removeprefix("."))[0]


def law_imports_run_downwards(checkout: pathlib.Path) -> list[str]:
    breaches = []
    for path, source in sources(checkout).items():
        here = room(path)
        for name in source.imports:
            if not name.startswith("."):
                continue
            there = room(name)
            if there not in MAY_IMPORT and there not in GROUND_FLOOR:
                there = "__init__"  # a name that the package itself holds, such as __version__
            allowed = MAY_IMPORT.get(here, set()) | GROUND_FLOOR | {here}
            if here not in MAY_IMPORT and here not in GROUND_FLOOR:
                breaches.append(f"{path} stands in no room of the house")
            elif there not in allowed:
                breaches.append(f"{path} imports {there}")
    return breaches


def law_no_circles(checkout: pathlib.Path) -> list[str]:
    graph: dict[str, set[str]] = {dotted(path): set() for path in sources(checkout)}
    for path, source in sources(checkout).items():
        for target in (found.removeprefix(".") for found in source.imports if found.startswith(".")):
            graph[dotted(path)] |= {target, target.rpartition(".")[0]} & graph.keys() - {dotted(path)}
    return [f"{name} imports itself by way of {way}" for name, way in circles(graph)]


def dotted(path: str) -> str:
    """Return the module name of a file of the package."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def circles(graph: dict[str, set[str]]) -> Iterator[tuple[str, str]]:
    """Yield each node that reaches itself, with a neighbour that leads back."""
    for name, neighbours in sorted(graph.items()):
        for neighbour in sorted(neighbours):
            seen, todo = set(), [neighbour]
            while todo:
                node = todo.pop()
                if node not in seen:
                    seen.add(node)
                    todo += graph[node]
            if name in seen:
                yield name, neighbour


def law_pure_rooms(checkout: pathlib.Path) -> list[str]:
    breaches = []
    for path, source in sources(checkout).items():
        if room(path) not in ("plan", "spec") or path in MAY_BE_IMPURE:
            continue
        breaches += [f"{path} imports {name}" for name in source.imports if name.split(".")[0] in IMPURE]
        calls = [node.func for node in ast.walk(source.tree) if isinstance(node, ast.Call)]
        opened = [f for f in calls if isinstance(f, ast.Name) and f.id in ("open", "exec", "eval", "__import__")]
        breaches += [f"{path}:{call.lineno} calls {call.id}" for call in opened]
    return breaches


def law_guests_stay_where_they_belong(checkout: pathlib.Path) -> list[str]:
    return [
        f"{path} imports {name}"
        for path, source in sources(checkout).items()
        for name in source.imports
        if not path.startswith(GUESTS.get(name.split(".")[0], ("",)))
    ]


def law_hot_verbs_start_fast(checkout: pathlib.Path) -> list[str]:
    names = ["main", *(f"container.{verb}" for verb in HOT_VERBS)]
    missing = [name for name in names if not (checkout / PACKAGE / f"{name.replace('.', '/')}.py").exists()]
    script = f"import sys; sys.path.insert(0, {str(checkout)!r})\n"
    script += "".join(f"import {PACKAGE}.{name}\n" for name in names if name not in missing)
    script += "print(*sys.modules)"
    python = [sys.executable, "-ISB", "-c", script]
    loaded = subprocess.run(python, capture_output=True, text=True, check=True, timeout=20).stdout.split()
    return [f"imports {name}" for name in loaded if name in TOO_SLOW_TO_IMPORT] + [f"no {name}" for name in missing]


def law_files_are_short(checkout: pathlib.Path) -> list[str]:
    return [
        f"{path} has {len(text.splitlines())} lines"
        for path, text in texts(checkout, ".py", ".c", ".h", ".sh")
        if len(text.splitlines()) > LINES_OF_A_FILE and path not in LONG_FILES
    ]


def law_functions_fit_on_a_screen(checkout: pathlib.Path) -> list[str]:
    return [
        f"{path}: {name} has {lines} lines"
        for path, text in texts(checkout, ".py", ".c")
        if path not in LONG_FILES
        for name, lines in (python_functions(text) if path.endswith(".py") else c_functions(text))
        if lines > LINES_OF_A_FUNCTION and f"{path}: {name}" not in LONG_FUNCTIONS
    ]


def python_functions(text: str) -> Iterator[tuple[str, int]]:
    for node in statements(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno:
            yield node.name, node.end_lineno - node.lineno + 1


def c_functions(text: str) -> Iterator[tuple[str, int]]:
    """Yield what stands before each `{` in the first column, and the lines up to its `}`."""
    for match in re.finditer(r"^([^\n]*)\n\{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
        yield match[1], match[2].count("\n") + 2


def law_little_c(checkout: pathlib.Path) -> list[str]:
    # of code that is installed: what explains it may be as long as it needs to be, and attackers (evil.c) are not ours
    ours = [text for path, text in texts(checkout, ".c", ".h") if path.startswith(PACKAGE)]
    code = [re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL) for text in ours]
    lines = sum(1 for text in code for line in text.splitlines() if line.strip())
    return [f"{lines} lines of C"] if lines >= LINES_OF_C else []


def law_names_say_something(checkout: pathlib.Path) -> list[str]:
    bad = {"utils", "util", "common", "helpers", "misc"}
    return [path for path, _ in texts(checkout) if {part.split(".")[0] for part in path.split("/")} & bad]


def law_dbus_is_no_package(checkout: pathlib.Path) -> list[str]:
    return [path for path, _ in texts(checkout, ".py") if path == "dbus/__init__.py"]


def law_speaks_of_the_product_alone(checkout: pathlib.Path) -> list[str]:
    breaches = []
    for path, text in texts(checkout):
        breaches += [f"{path} names {place}" for place in PATHS_OF_ONE_MACHINE if place in text and path != "LICENSE"]
        hosts = re.findall(r"https?://([\w.-]+)", text)
        breaches += [f"{path} names the host {host}" for host in hosts if not HOSTS.match(host)]
    return breaches


C_FUNCTION = "int f(void)\n{\n" + ";\n" * 59 + "}"


def long_function(lines: int) -> str:
    return "def f():\n" + "    pass\n" * (lines - 1)


# A law, and files that break it: path and content, and the breach they must give.
LAWS: list[tuple[Callable[[pathlib.Path], list[str]], dict[str, str], str]] = [
    (law_imports_run_downwards, {"plan/a.py": "from ..container import state"}, "plan/a.py imports container"),
    (law_imports_run_downwards, {"spec/a.py": "from ..plan.ops import Op"}, "spec/a.py imports plan"),
    (law_imports_run_downwards, {"record.py": "import pyoci_systemd.systemd.bus"}, "record.py imports systemd"),
    (law_imports_run_downwards, {"cli/a.py": "from pyoci_systemd import main"}, "cli/a.py imports main"),
    (law_imports_run_downwards, {"init/a.py": "def f():\n    from .. import plan"}, "init/a.py imports plan"),
    (law_imports_run_downwards, {"attic/a.py": "from ..record import R"}, "attic/a.py stands in no room of the house"),
    (law_no_circles, {"x.py": "from . import y", "y.py": "from .x import f"}, "x imports itself by way of y"),
    (law_pure_rooms, {"plan/a.py": "import posix"}, "plan/a.py imports posix"),
    (law_pure_rooms, {"spec/a.py": "def f():\n    from os.path import join"}, "spec/a.py imports os.path"),
    (law_pure_rooms, {"plan/a.py": "open('/etc/passwd')"}, "plan/a.py:1 calls open"),
    (law_guests_stay_where_they_belong, {"main.py": "import click"}, "main.py imports click"),
    (law_guests_stay_where_they_belong, {"spec/load.py": "import jsonschema"}, "spec/load.py imports jsonschema"),
    (law_guests_stay_where_they_belong, {"cli/a.py": "from dbus_next.aio import X"}, "cli/a.py imports dbus_next.aio"),
    (law_hot_verbs_start_fast, {"main.py": "", "container/run.py": "import re"}, "imports re"),
    (law_hot_verbs_start_fast, {"main.py": ""}, "no container.kill"),
    (law_files_are_short, {"a.py": "\n" * 401}, "pyoci_systemd/a.py has 401 lines"),
    (law_functions_fit_on_a_screen, {"a.py": long_function(61)}, "pyoci_systemd/a.py: f has 61 lines"),
    (law_functions_fit_on_a_screen, {"a.c": C_FUNCTION}, "pyoci_systemd/a.c: int f(void) has 61 lines"),
    (law_little_c, {"a.c": ";\n" * 600, "a.h": ";\n" * 400}, "1000 lines of C"),
    (law_names_say_something, {"plan/utils.py": ""}, "pyoci_systemd/plan/utils.py"),
    (law_names_say_something, {"common/a.py": ""}, "pyoci_systemd/common/a.py"),
    (law_dbus_is_no_package, {"../dbus/__init__.py": ""}, "dbus/__init__.py"),
    (law_speaks_of_the_product_alone, {"a.py": f"# see {HOME}me"}, f"pyoci_systemd/a.py names {HOME}"),
    (law_speaks_of_the_product_alone, {"a.py": f"# http://{HOST}/x"}, f"pyoci_systemd/a.py names the host {HOST}"),
]


@pytest.mark.parametrize("law", dict.fromkeys(law for law, _, _ in LAWS), ids=lambda law: law.__name__)
def test_the_house_keeps(law: Callable[[pathlib.Path], list[str]]) -> None:
    assert law(CHECKOUT) == []


@pytest.mark.parametrize(("law", "files", "breach"), LAWS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_breach_is_seen(
    law: Callable[[pathlib.Path], list[str]], files: dict[str, str], breach: str, tmp_path: pathlib.Path
) -> None:
    for path, text in {"__init__.py": "", "container/__init__.py": "", **files}.items():
        (tmp_path / PACKAGE / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / PACKAGE / path).write_text(text)
    assert breach in law(tmp_path)


def test_every_law_is_in_the_table() -> None:
    assert {law.__name__ for law, _, _ in LAWS} == {name for name in globals() if name.startswith("law_")}


@pytest.mark.parametrize("path", [*LONG_FILES, *(f"{PACKAGE}/{name}" for name in MAY_BE_IMPURE)])
def test_exceptions_are_for_files_that_exist(path: str) -> None:
    assert (CHECKOUT / path).exists()
