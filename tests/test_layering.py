"""The arrows of the house: ``rust/core`` <- ``rust/py`` <- ``python/gptbpe`` <- ``python/gptmodel``.

A layer that imports what lies above it can no longer be tested, installed or understood alone. Imports are
read from the source (inside functions too), the crates' arrows from ``cargo metadata`` and ``Cargo.lock``.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / "python"

#: Formats and calls that run what they read. Weights and state travel as safetensors and JSON.
UNSAFE_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "joblib",
    "yaml",
}
UNSAFE_CALLS = {"eval", "exec"}
DYNAMIC_IMPORTS = {"importlib.import_module", "import_module", "__import__"}

#: The whole of what ``import gptbpe`` must not pull in: each of these costs more than the rest together.
HEAVY = {"torch", "gptmodel", "transformers", "tokenizers", "tiktoken", "pyarrow", "matplotlib", "lightning"}


def module_name(path: Path) -> str:
    parts = path.relative_to(PYTHON).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(package: str) -> list[Path]:
    found = sorted((PYTHON / package).rglob("*.py"))
    assert found, f"no sources of {package} under {PYTHON}"
    return found


def imported_modules(path: Path, *, lazily: bool = True) -> Iterator[str]:
    """Yield the full dotted name of every import in a file, or of those outside functions only."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not lazily:
            continue
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = ".".join([*parent, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in DYNAMIC_IMPORTS:
            yield from (str(name.value) for name in node.args[:1] if isinstance(name, ast.Constant))


def top_level(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("path", sources("gptbpe"), ids=module_name)
def test_gptbpe_knows_nothing_of_torch_or_gptmodel(path: Path) -> None:
    assert not {top_level(name) for name in imported_modules(path)} & {"torch", "gptmodel", "lightning"}


def test_the_architecture_needs_torch_and_pydantic_only() -> None:
    """Importing ``gptmodel.model`` brings the architecture and nothing of training, data or disk."""
    reached, waiting = set[str](), ["model"]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        for imported in imported_modules(PYTHON / "gptmodel" / f"{name}.py", lazily=False):
            if top_level(imported) == "gptmodel":
                waiting.append(imported.split(".")[1])
            else:
                allowed = sys.stdlib_module_names | {"torch", "pydantic"}
                assert top_level(imported) in allowed, f"gptmodel.{name} imports {imported}"
    assert reached == {"model", "attention", "positions"}


@pytest.mark.parametrize("path", [*sources("gptbpe"), *sources("gptmodel")], ids=module_name)
def test_nothing_runs_what_it_reads(path: Path) -> None:
    """No pickle, marshal, YAML, eval or ``torch.load``; ``torch.save`` only for the ``.pth`` asked for."""
    assert not {top_level(name) for name in imported_modules(path)} & UNSAFE_MODULES
    calls = {
        ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
    }
    assert not calls & UNSAFE_CALLS
    assert "torch.load" not in calls
    if module_name(path) != "gptmodel.export":
        assert "torch.save" not in calls


def test_init_files_only_re_export() -> None:
    """Importing a package defines and does nothing: its ``__init__`` holds imports, ``__all__`` and names."""
    allowed = (
        ast.Import,
        ast.ImportFrom,
        ast.Assign,
        ast.AnnAssign,
        ast.Expr,
        ast.If,
        ast.Try,
        ast.FunctionDef,
    )
    for package in ("gptbpe", "gptmodel"):
        for node in ast.parse((PYTHON / package / "__init__.py").read_text(encoding="utf-8")).body:
            assert isinstance(node, allowed), (
                f"{package}/__init__.py line {node.lineno}: {type(node).__name__}"
            )


def test_importing_gptbpe_is_light() -> None:
    code = "import sys; import gptbpe; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not set(loaded.split()) & HEAVY


def workspace_dependencies() -> dict[str, set[str]]:
    """Return each crate of the workspace with the crates it names, development ones included."""
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("cargo is not on this machine")
    command = [cargo, "metadata", "--format-version", "1", "--no-deps", "--locked"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout)
    return {
        package["name"]: {dependency["name"] for dependency in package["dependencies"]}
        for package in metadata["packages"]
    }


def test_crates_point_one_way() -> None:
    crates = workspace_dependencies()
    own = set(crates)
    assert crates["gptbpe-core"] & own == set()
    assert crates["gptbpe-py"] & own == {"gptbpe-core"}
    assert crates["gptbpe-benches"] & own == {"gptbpe-core"}


def test_the_core_links_no_python() -> None:
    """Walk ``Cargo.lock`` from the core: nothing it reaches, at any depth, may be a binding to Python."""
    packages = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))["package"]
    edges = {
        package["name"]: [entry.split(" ")[0] for entry in package.get("dependencies", [])]
        for package in packages
    }
    reached, waiting = set[str](), ["gptbpe-core"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(edges[name])
    assert not {name for name in reached if name.startswith(("pyo3", "numpy", "gptbpe-py"))}
    assert "thiserror" in reached, "the walk itself must have walked"
