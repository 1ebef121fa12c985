"""Rules worth having: imports go down only, files stay short, names say something."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "spidereye"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def layers() -> list[tuple[str, list[str]]]:
    """The layers as docs/architecture.md lists them, lowest first."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = next(b for b in re.findall(r"```\n(.*?)```", text, re.S) if b.startswith("foundation:"))
    return [(name, rest.split()) for name, rest in re.findall(r"^(\w+): (.*)$", block, re.M)]


def module_name(path: Path) -> str:
    """The top-level module of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Top-level modules of the package that a file imports, except for type checking only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("spidereye"):
            parts = node.module.split(".")
            names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return names


def test_every_module_is_in_exactly_one_layer():
    listed = [module for _, modules in layers() for module in modules]
    there = {module_name(path) for path in MODULES} - {"__init__"}
    assert sorted(listed) == sorted(there)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    level = {module: i for i, (_, modules) in enumerate(layers()) for module in modules}
    own = module_name(path)
    if own == "__init__":
        return
    above = {name for name in imported(path) if level.get(name, -1) > level[own]}
    assert not above, f"{own} imports {above} from a layer above its own"


def test_no_import_cycles():
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        graph.setdefault(module_name(path), set()).update(imported(path) - {module_name(path)})
    done: set[str] = set()
    while len(done) < len(graph):
        ready = {name for name in graph if name not in done and graph[name] - {"__init__"} <= done}
        assert ready, f"a cycle among {sorted(set(graph) - done)}"
        done |= ready


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short_and_introduce_themselves(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "a module starts with what it is"
    assert path.stem not in ("utils", "common", "helpers", "misc", "base")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_mutable_module_state(path):
    """Lists, dicts and sets at module level are tables: their names say so, in capitals."""
    mutable = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, mutable):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            assert all(name.isupper() or name == "__all__" for name in names), names
    assert not any(isinstance(node, ast.Global) for node in ast.walk(ast.parse(path.read_text())))


def test_importing_the_package_is_light():
    code = "import spidereye.cli, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_threads_wait_briefly_wherever_the_package_is_imported_first(monkeypatch):
    """GNU OpenMP reads it once, when PyTorch is imported; beside a busy process a shot takes 10
    times as long without."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for said, expected in ((None, "3000"), ("7", "7")):
        if said is not None:
            monkeypatch.setenv("GOMP_SPINCOUNT", said)
        code = f"import spidereye.errors, os; assert os.environ['GOMP_SPINCOUNT'] == '{expected}'"
        subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_names_a_machine_or_needs_torchvision():
    here = [folder for folder in (ROOT.parent, Path.home()) if folder != Path("/")]
    for path in [*MODULES, *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) torchvision", text, re.M), path
        assert not any(f"{folder}/" in text for folder in here), path


def test_type_checkers_know_what_the_package_has():
    """py.typed says that it is typed, and what has no name in it is an error to them."""
    assert (PACKAGE / "py.typed").is_file()
    for node in ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body:
        assert not isinstance(node, ast.FunctionDef) or node.name != "__getattr__"
