"""One file of byte code for the hot verbs: 45 modules in 2 ms, where single files take 5 and `python3 -c` 0.4 more.

`python3 -m pyoci_systemd.archive` writes `python3.N.pyc` beside the package, for the Python that runs it, and
`python3.N.code`, in which the former finds the code of each module; whoever installs the package calls it, as they
call compileall. The launcher looks for the one of its interpreter and falls back to `__main__.py`, from which
everything works as well, only slower. `python3.N/` is the home in which that interpreter boots (encodings.py).
"""

from __future__ import annotations
import __future__

import ast
import importlib.util
import marshal
import os
import shutil
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

PACKAGE = "pyoci_systemd"
VERBS = ("create", "run", "start", "exec", "state", "kill", "delete", "list")
# what these import on their way, for verbs that can do without it: from single files it takes 1 to 4 ms
ALSO = {
    "create": ("container.lock", "container.stateroot"),
    "run": ("container.lock", "container.stateroot"),
    "start": ("container.lock",),
    "delete": ("container.lock",),
}
SPEAKING = (f"{PACKAGE}.plan.ops",)

# What the archive's own code is; it runs as __main__. The modules that a command needs are made before they are asked
# for, in the order in which they need each other, which spares them the import system (20 µs each). What is not in it,
# such as click, is imported from the directory, as ever.
LOADER = """
import gc, marshal, posix, sys

if posix.environ.pop(b"PYTHONHOME", None):
    # Python is up: from here on it sees its real library, and so do those whom we call
    posix.unsetenv(b"PYTHONHOME")
    for name, value in REAL.items():
        setattr(sys, name, value)
    del sys.modules["encodings"]

# the process lives for some milliseconds and makes no garbage to speak of
gc.disable()

HOME = __file__.rpartition("/")[0]
# last: the modules of ours are made or found below the package, and this is searched for each of the others
sys.path.append(HOME)

def load(verb):
    names, offset, size = SEGMENTS[verb]
    for name, body in zip(names, marshal.loads(posix.pread(code, size, offset))):
        parent, _, child = name.rpartition(".")
        module = sys.modules[name] = type(sys)(name)
        path = HOME + "/" + name.replace(".", "/")
        if name in PACKAGES:
            module.__path__ = [path]
        module.__file__ = path + ("/__init__.py" if name in PACKAGES else ".py")
        module.__package__ = name if name in PACKAGES else parent
        if parent:
            setattr(sys.modules[parent], child, module)
        exec(body, module.__dict__)

code = posix.open(__file__[:-3] + "code", posix.O_RDONLY | posix.O_CLOEXEC)
load(None)
for word in sys.argv[3:]:
    if word in SEGMENTS:
        load(word)
        break
posix.close(code)
"""
START = "sys.modules['pyoci_systemd.main'].launched()\n"


def order(*modules: str) -> list[str]:
    """Return the modules of ours that these import, each after those that it needs."""
    statement = f"import {', '.join(f'{PACKAGE}.{module}' for module in modules)}"
    command = [sys.executable, "-X", "importtime", "-c", statement]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    names = [line.rpartition("|")[2].strip() for line in report.splitlines()]
    return [name for name in names if name.split(".")[0] == PACKAGE]


class Lean(ast.NodeTransformer):
    """What only a type checker reads is left out; the annotations in classes are the fields of record.py, and stay."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        # what it does is said to the compiler: the import itself would take 0.1 ms
        return None if node.module == "__future__" else node

    def visit_If(self, node: ast.If) -> ast.If | list[ast.stmt]:
        self.generic_visit(node)
        return node.orelse if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        self.generic_visit(node)
        return node


def compiled(name: str) -> CodeType:
    """Return the code of a module."""
    file = importlib.import_module(name).__file__
    assert file
    with open(file, encoding="utf-8") as source:
        tree = Lean().visit(ast.parse(source.read(), file))
    flags = __future__.annotations.compiler_flag
    # docstrings are a quarter of it all, and only those of the ops are ever said
    optimize = 1 if name in SPEAKING else 2
    # named as below the library's directory: where it is being built is nobody's business
    place = file[file.rindex(f"/{PACKAGE}/") + 1 :]
    code: CodeType = compile(tree, place, "exec", flags=flags, dont_inherit=True, optimize=optimize)
    return code


def real() -> dict[str, object]:
    """Return what this interpreter says of its standard library when nobody tells it where that is."""
    names = ("path", "prefix", "exec_prefix", "base_prefix", "base_exec_prefix", "_stdlib_dir")
    question = f"import sys; print({{name: getattr(sys, name) for name in {names}}})"
    answer = subprocess.run([sys.executable, "-IS", "-c", question], check=True, capture_output=True, text=True).stdout
    found: dict[str, object] = ast.literal_eval(answer)
    return found


def settle(home: str) -> None:
    """Make the directory in which the interpreter boots for its archive; none when it does not do so there."""
    library = f"{home}/lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    os.makedirs(library, exist_ok=True)
    replace(f"{library}/encodings.pyc", executable(compiled(f"{PACKAGE}.encodings")))
    command = [sys.executable, "-sPSB", "-Xutf8", f"{home}.pyc", "0", "pyoci", "--version"]
    booted = subprocess.run(command, env={"PYTHONHOME": home}, capture_output=True)
    if booted.returncode or booted.stderr:
        shutil.rmtree(home)


def executable(code: CodeType) -> bytes:
    """Return the contents of a .pyc that is checked by its magic number alone (PEP 552)."""
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)


def write(directory: str) -> None:
    """Write the archive into `directory`, under the name by which this interpreter's executable is known."""
    first = order("main")
    orders: dict[str | None, list[str]] = {None: first}
    for verb in VERBS:
        orders[verb] = [name for name in order("main", f"container.{verb}", *ALSO.get(verb, ())) if name not in first]
    segments, blob = {}, b""
    for entry, names in orders.items():
        # a whole segment is one object: what its modules have in common is read once
        codes = marshal.dumps(tuple(compiled(name) for name in names))
        segments[entry] = (tuple(names), len(blob), len(codes))
        blob += codes
    packages = {name for names in orders.values() for name in names if hasattr(sys.modules[name], "__path__")}
    interpreter = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    replace(f"{directory}/{interpreter}.code", blob)
    source = f"SEGMENTS = {segments!r}\nPACKAGES = {packages!r}\nREAL = {real()!r}\n{LOADER}{START}"
    script = compile(source, f"{interpreter}.pyc", "exec", dont_inherit=True)
    replace(f"{directory}/{interpreter}.pyc", executable(script))
    settle(os.path.abspath(f"{directory}/{interpreter}"))


def replace(path: str, data: bytes) -> None:
    """Put a whole file where perhaps an older one is in use."""
    with open(f"{path}.new", "wb") as file:
        file.write(data)
    os.replace(f"{path}.new", path)


if __name__ == "__main__":
    if "no_debug_ranges" not in sys._xoptions:
        # without the columns of every instruction, which only a traceback shows, it is a quarter smaller
        command = ["-X", "no_debug_ranges", "-m", f"{PACKAGE}.archive", *sys.argv[1:]]
        os.execv(sys.executable, [sys.executable, *command])
    write(sys.argv[1] if len(sys.argv) > 1 else ".")
