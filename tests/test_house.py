"""The house: what importing costs, which way imports point, and what no tracked file may name."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.one_python

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "st_predict"

ROOMS = ("io", "pp", "tl", "pl", "datasets", "cli")
ALL_ROOMS = (*ROOMS, "core", "_spatialdata")
CORE_ORDER = (
    "section",
    "tiles",
    "encoders",
    "methods",
    "inputs",
    "model",
    "fitting",
    "protocol",
)  # each may import those before it
READS_THROUGH = {
    "datasets": ("io",),
    "tl": ("io",),
}  # public data, and slides of a cohort, are in the formats that io reads
OUTSIDE_CORE = {"anndata", "dask", "geopandas", "scanpy", "spatialdata", "spatialdata_io", "squidpy", "xarray"}
INSIDE_FUNCTIONS = {
    "st_predict.cli": "the commands load when they are asked for",
    "st_predict.cli.__main__": "Ctrl-C is cared for before the commands load",
    "st_predict.cli.commands": "asked for help, the command line loads no torch",
}  # who may import own modules inside functions, and why
MOST_INSIDE_FUNCTIONS = 25
LINES, PARAMETERS = 60, 8  # the most that a function has, docstrings and public verbs aside
LARGEST_ROOM = 0.27  # of the lines of core
HEAVY = ("anndata", "lightning", "pandas", "spatialdata", "timm", "torch")


def imported_modules(tree: ast.AST, module: str, *, is_package: bool) -> set[str]:
    """Dotted names a module imports anywhere, relative ones resolved; ``from a import b`` gives ``a`` and ``a.b``."""
    found = set()
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    return found


def arrow_faults(module: str, imported: set[str]) -> list[str]:
    """What is wrong with the imports of ``module`` (dotted from ``st_predict``), one sentence a fault."""
    parts = module.split(".")[1:]
    if not parts or parts[0] != "core":
        return _faults_outside_core(parts[0] if parts else "", imported)
    faults = []
    # A module beside these (errors, metrics, ...) is a leaf: all may import it, so it stays as low as a section.
    floor = CORE_ORDER.index(parts[1]) if parts[1:] and parts[1] in CORE_ORDER else 0
    for name in sorted(imported):
        target = name.split(".")
        if target[0] in OUTSIDE_CORE:
            faults.append(f"core imports {name}")
        if target[0] != "st_predict" or len(target) < 2:
            continue
        if target[1] != "core":
            faults.append(f"core imports {name}, which is no part of it")
        elif len(target) > 2 and target[2] in CORE_ORDER[floor + 1 :]:
            faults.append(f"{'.'.join(parts[1:2]) or 'core'} imports {name}, which is above it")
    return faults


def _faults_outside_core(room: str, imported: set[str]) -> list[str]:
    """Rooms know the core and the boundary, not one another; the boundary knows the core only."""
    if room in ("", "__main__", "cli"):
        return []
    others = {f"st_predict.{other}" for other in ROOMS if other not in (room, *READS_THROUGH.get(room, ()))}
    return [f"{room} imports {name}" for name in sorted(imported) if ".".join(name.split(".")[:2]) in others]


def house_faults(module: str, imported: set[str]) -> list[str]:
    """Nothing below the command line uses the public face, and nothing stands at the root that is no room."""
    parts = module.split(".")
    faults = (
        [f"{parts[1]} is no room of the house"] if len(parts) > 1 and parts[1] not in (*ALL_ROOMS, "__main__") else []
    )
    inside = len(parts) > 1 and parts[1] != "cli"
    return faults + ["it uses the public face"] * (inside and "st_predict" in imported)


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_inside_functions(tree: ast.AST) -> list[str]:
    """Imports of own modules inside functions, as they are written."""
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = dict.fromkeys(node for function in functions for node in ast.walk(function))  # each once, also if nested
    return [
        ast.unparse(node)
        for node in inside
        if (isinstance(node, ast.ImportFrom) and (node.level or _is_own(str(node.module))))
        or (isinstance(node, ast.Import) and any(_is_own(alias.name) for alias in node.names))
    ]


def _is_own(name: str) -> bool:
    return name.split(".")[0] == "st_predict"


class WhenLoaded(ast.NodeTransformer):
    """Leaves of a module what runs when it is loaded: no function, nothing for type checkers alone."""

    def visit_FunctionDef(self, _node: ast.AST) -> None:
        return None

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node: ast.If) -> ast.AST:
        if "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = [ast.Pass()]
        return self.generic_visit(node)


def imported_when_loaded(tree: ast.Module, module: str, doors: Mapping[str, str], *, is_package: bool) -> set[str]:
    """Dotted names that loading a module imports; ``doors`` says where the public names of rooms live."""
    names = imported_modules(WhenLoaded().visit(tree), module, is_package=is_package)
    return {doors.get(name, name) for name in names}


def door_names(package: str, stub: ast.Module) -> dict[str, str]:
    """The module of every public name in the stub of a package."""
    return {
        f"{package}.{alias.name}": f"{package}.{node.module}"
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def circle(imports: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, from one to itself; none where there is none."""
    own = {module: imported & imports.keys() - {module} for module, imported in imports.items()}
    try:
        graphlib.TopologicalSorter(own).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_leaves_heavy_packages_out() -> None:
    loaded = run_python(f"import sys, st_predict; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded.strip() == "[]"


@pytest.mark.parametrize("room", ["datasets", "io", "pl", "pp", "tl"])
def test_rooms_leave_torch_out(room: str) -> None:
    loaded = run_python(
        f"import sys, st_predict.{room}; print([m for m in ('torch', 'timm', 'lightning') if m in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_import_arrows() -> None:
    found = modules()
    assert "st_predict.core.errors" in found, "the check reads the wrong folder"
    faults = {}
    for module, path in found.items():
        imported = set()
        for part in (path, path.with_suffix(".pyi")):  # what a door loads when touched stands in its stub
            if part.exists():
                imported |= imported_modules(parsed(part), module, is_package=path.name == "__init__.py")
        if wrong := arrow_faults(module, imported):
            faults[module] = wrong
    assert faults == {}


def test_every_module_is_in_a_room_and_none_uses_the_public_face() -> None:
    faults = {}
    for module, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        if wrong := house_faults(module, plain):
            faults[module] = wrong
    assert faults == {}


def test_strangers_in_the_house_are_seen() -> None:
    assert house_faults("st_predict._setup", set()) == ["_setup is no room of the house"]
    assert house_faults("st_predict.tl._cohort", {"st_predict"}) == ["it uses the public face"]
    assert house_faults("st_predict.cli.demo", {"st_predict"}) == house_faults("st_predict", {"torch"}) == []


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        ("st_predict.core.tiles.geometry", "import spatialdata", "core imports spatialdata"),
        ("st_predict.core.metrics", "from anndata import AnnData", "core imports anndata"),
        ("st_predict.core.section", "def f():\n    from st_predict.tl import train", "which is no part of it"),
        ("st_predict.core.methods.ridge", "from st_predict import _spatialdata", "which is no part of it"),
        ("st_predict.core.tiles.geometry", "from ..encoders import registry", "tiles imports st_predict.core.encoders"),
        ("st_predict.core.encoders", "from .. import methods", "encoders imports st_predict.core.methods"),
        ("st_predict.core.section", "import st_predict.core.model.model", "section imports"),
        ("st_predict.core.metrics", "from st_predict.core.tiles import geometry", "metrics imports"),
        ("st_predict.core", "from .model import model", "core imports st_predict.core.model"),
        (
            "st_predict.core.inputs.rows",
            "from st_predict.core.model import domain",
            "inputs imports st_predict.core.model",
        ),
        ("st_predict.core.model.model", "from ..fitting.plan import Plan", "model imports st_predict.core.fitting"),
        ("st_predict.io.visium", "from st_predict.tl import predict", "io imports st_predict.tl"),
        ("st_predict._spatialdata", "from st_predict.io import visium", "_spatialdata imports st_predict.io"),
    ],
)
def test_import_arrows_are_seen(module: str, line: str, fault: str) -> None:
    faults = arrow_faults(
        module, imported_modules(ast.parse(line), module, is_package=module.endswith(("core", "encoders")))
    )
    assert any(fault in found for found in faults), faults


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("st_predict.core.model.model", "from st_predict.core.methods import registry"),
        ("st_predict.core.section", "from st_predict.core.errors import InputError"),
        ("st_predict.core.tiles.stream", "from .geometry import boxes"),
        ("st_predict.tl.train", "from st_predict._spatialdata import read_section"),
        ("st_predict.cli", "from st_predict import datasets, tl"),
    ],
)
def test_allowed_arrows_pass(module: str, line: str) -> None:
    assert arrow_faults(module, imported_modules(ast.parse(line), module, is_package=False)) == []


def test_own_modules_are_imported_at_the_top() -> None:
    inside = {module: found for module, path in modules().items() if (found := imports_inside_functions(parsed(path)))}
    assert {module: found for module, found in inside.items() if module not in INSIDE_FUNCTIONS} == {}
    assert sum(map(len, inside.values())) <= MOST_INSIDE_FUNCTIONS


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f():\n    from st_predict.tl import train", ["from st_predict.tl import train"]),
        ("def f():\n    def g():\n        import st_predict as stp", ["import st_predict as stp"]),
        ("class A:\n    async def f(self):\n        from .geometry import boxes", ["from .geometry import boxes"]),
        ("from st_predict.tl import train\ndef f():\n    import torch", []),
    ],
)
def test_imports_inside_functions_are_seen(text: str, found: list[str]) -> None:
    assert imports_inside_functions(ast.parse(text)) == found


def oversized(tree: ast.AST) -> list[str]:
    """Functions that are long or take many values, less those that users call, which are checked."""
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if any(isinstance(mark, ast.Name) and mark.id == "checked" for mark in function.decorator_list):
            continue
        body = function.body[ast.get_docstring(function) is not None :]
        lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
        names = [one.arg for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
        parameters = len(names) - (names[:1] in (["self"], ["cls"]))
        if lines > LINES or parameters > PARAMETERS:
            found.append(f"{function.name}: {lines} lines, {parameters} parameters")
    return found


def test_functions_are_short_and_take_few_values() -> None:
    assert {module: found for module, path in modules().items() if (found := oversized(parsed(path)))} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f(a, b, c, d, *, e, g, h, i, j): pass", ["f: 1 lines, 9 parameters"]),
        ("class A:\n    def f(self, b, c, d, e, g, h, i, j): pass", []),
        ("@checked\ndef f(a, b, c, d, *, e, g, h, i, j): pass", []),
        ("def f():\n" + "    pass\n" * 61, ["f: 61 lines, 0 parameters"]),
        ('def f():\n    """' + "\n" * 80 + '"""\n    pass', []),
    ],
)
def test_large_functions_are_seen(text: str, found: list[str]) -> None:
    assert oversized(ast.parse(text)) == found


def test_no_room_is_most_of_the_core() -> None:
    lines: dict[str, int] = {}
    for path in (SOURCE / "core").rglob("*.py"):
        room = path.relative_to(SOURCE / "core").parts[0]
        lines[room] = lines.get(room, 0) + len(path.read_text(encoding="utf-8").splitlines())
    share = {room: n / sum(lines.values()) for room, n in lines.items()}
    assert max(share.values()) <= LARGEST_ROOM, share


def test_no_modules_import_each_other() -> None:
    doors: dict[str, str] = {}
    found = modules()
    for module, path in found.items():
        if (stub := path.with_suffix(".pyi")).exists():
            doors |= door_names(module, parsed(stub))
    assert doors["st_predict.tl.train"] == "st_predict.tl._train"
    imports = {
        module: imported_when_loaded(parsed(path), module, doors, is_package=path.name == "__init__.py")
        for module, path in found.items()
    }
    assert circle(imports) == []


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("from st_predict.tl._train import train", True),
        ("from st_predict.tl import train", True),  # through the door
        ("from ._train import train", True),
        ("try:\n    import st_predict.tl._train\nexcept ImportError:\n    pass", True),
        ("def f():\n    from st_predict.tl._train import train", False),
        ("if TYPE_CHECKING:\n    from st_predict.tl._train import train", False),
    ],
)
def test_circles_are_seen(text: str, closed: bool) -> None:
    doors = door_names("st_predict.tl", ast.parse("from ._train import train as train"))
    texts = {"st_predict.tl._train": "from st_predict.tl import _training", "st_predict.tl._training": text}
    imports = {name: imported_when_loaded(ast.parse(t), name, doors, is_package=False) for name, t in texts.items()}
    assert bool(circle(imports)) is closed


def error_faults(tree: ast.Module) -> list[str]:
    """Handlers that would call our own error by another cause.

    An ``InputError`` is a ``ValueError``. A try that calls code of ours, or yields, and turns a ``ValueError`` (or all
    that it is) into another error lets an ``InputError`` pass first.
    """
    own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)} | {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("st_predict"))
        for alias in node.names
    }
    faults = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Try) or not any(
            _is_ours(part, own) for line in node.body for part in ast.walk(line)
        ):
            continue
        for handler in node.handlers:
            caught = _caught(handler)
            if "InputError" in caught:
                break
            raised = [part for part in ast.walk(handler) if isinstance(part, ast.Raise) and part.exc is not None]
            if raised and not caught.isdisjoint({"", "ValueError", "Exception", "BaseException"}):
                faults.append(f"line {handler.lineno} takes our own error for another")
    return faults


def _caught(handler: ast.ExceptHandler) -> set[str]:
    """Names of what a handler catches, ``""`` for all."""
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {"" if kind is None else ast.unparse(kind).split(".")[-1] for kind in types}


def _is_ours(part: ast.AST, own: set[str]) -> bool:
    if isinstance(part, ast.Call):
        first = part.func
        while isinstance(first, ast.Attribute):
            first = first.value
        return isinstance(first, ast.Name) and first.id in own | {"self", "cls"}
    return isinstance(part, ast.Yield | ast.YieldFrom)


def test_no_handler_takes_our_own_error_for_another() -> None:
    faults = {module: error_faults(ast.parse(path.read_text(encoding="utf-8"))) for module, path in modules().items()}
    assert {module: wrong for module, wrong in faults.items() if wrong} == {}


@pytest.mark.parametrize(
    ("tried", "handlers", "n"),
    [
        ("f()", "except ValueError as e:\n  raise bad() from e", 1),
        ("f()", "except (OSError, ValueError) as e:\n  raise bad() from e", 1),
        ("f()", "except Exception:\n  raise RuntimeError", 1),
        ("f()", "except:\n  raise RuntimeError", 1),
        ("x = 1 + io.f(2)", "except ValueError:\n  if x:\n    raise bad()", 1),
        ("self.f()", "except ValueError:\n  raise bad()", 1),
        ("yield", "except ValueError:\n  raise bad()", 1),
        ("f()", "except errors.InputError:\n  raise\n except ValueError:\n  raise bad()", 0),
        ("f()", "except ValueError:\n  raise", 0),
        ("f()", "except ValueError:\n  return None", 0),
        ("f()", "except OSError:\n  raise bad()", 0),
        ("json.loads(text)", "except ValueError:\n  raise bad()", 0),
    ],
)
def test_handlers_that_take_our_own_error_for_another_are_seen(tried: str, handlers: str, n: int) -> None:
    code = f"import json\nfrom st_predict import io\ndef f(self):\n try:\n  {tried}\n {handlers}"
    assert len(error_faults(ast.parse(code))) == n


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", name)[0]).lower()


def test_every_imported_package_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (name for names in project["optional-dependencies"].values() for name in names)
    declared = {normal(project["name"]), *map(normal, [*project["dependencies"], *extras])}
    origin = packages_distributions()
    undeclared = {}
    for module, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        roots = {name.split(".")[0] for name in imported_modules(tree, module, is_package=path.name == "__init__.py")}
        for root in roots - sys.stdlib_module_names:
            if not declared.intersection(map(normal, origin.get(root, [root]))):
                undeclared[root] = module
    assert undeclared == {}


# Assembled, so that this file does not name what it forbids.
FORBIDDEN = re.compile(
    "|".join(
        [
            "/" + r"(?:root|home/\w+|Users/\w+|work)/",
            r"https?://[^\s\"'<>)]+/" + r"(?:simple|packages)/",
            r"(?:files|test-files)\.python" + r"hosted\.org",
        ]
    )
)


def tracked_text_files() -> list[Path]:
    """Text files that are tracked, or would be by the next ``git add``."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, capture_output=True, cwd=ROOT, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [p for p in paths if p.is_file() and b"\0" not in p.read_bytes()[:4096]]


def test_no_tracked_file_names_a_machine() -> None:
    named = {
        str(path.relative_to(ROOT)): match.group()
        for path in tracked_text_files()
        if (match := FORBIDDEN.search(path.read_text(encoding="utf-8", errors="replace")))
    }
    assert named == {}


@pytest.mark.parametrize(
    "text", ["see /" + "home/ann/data", "/" + "Users/ann/x", "index = https://host.example/" + "simple/numpy"]
)
def test_machine_names_are_seen(text: str) -> None:
    assert FORBIDDEN.search(text)
