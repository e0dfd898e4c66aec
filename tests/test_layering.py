"""The arrows of the house: ``rust/core`` <- ``rust/py`` <- ``python/gptbpe`` <- ``python/gptmodel``.

A layer that imports what lies above it can no longer be tested, installed or understood alone. Imports are
read from the source (inside functions too), the crates' arrows from ``cargo metadata`` and ``Cargo.lock``.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / "python"
CORE = ROOT / "rust" / "core" / "src"

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

MAKES_TENSORS = {"gptbpe.batch"}

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
    # Tensors are made for those who ask for them; nothing else of PyTorch is used, and nothing at import.
    lazily = module_name(path) not in MAKES_TENSORS
    found = {top_level(name) for name in imported_modules(path, lazily=lazily)}
    assert not found & {"torch", "gptmodel", "lightning"}


def test_the_architecture_needs_torch_and_pydantic_only() -> None:
    """Importing ``gptmodel.model`` brings the architecture and nothing of training, data or disk."""
    allowed = sys.stdlib_module_names | {"torch", "pydantic", "gptmodel"}
    for path in sorted((PYTHON / "gptmodel" / "model").glob("*.py")):
        # What makes a package's names lazy imports nothing itself.
        found = {top_level(name) for name in imported_modules(path) if name != "gptbpe.lazy.lazily"}
        assert found <= allowed, f"{module_name(path)} imports {found - allowed}"


#: The rooms of gptmodel from the lowest up: a room imports only those before it in this table.
GPTMODEL_ROOMS = (
    "threads", "processes", "errors", "units", "synonyms", "parse", "device", "files",
    "model", "hf", "data", "checkpoint",
    "generate", "evaluate", "load",
    "training", "presets", "config",
    "lightning", "export", "plot", "cli", "__main__", "train",
)  # fmt: skip

#: The modules of a room from the lowest up; one that is not named here comes after those that are.
GPTMODEL_MODULES: dict[str, tuple[str, ...]] = {
    "model": ("config", "attention", "positions", "initialize", "loss", "gpt"),
    "hf": ("mapping", "read", "write"),
    "data": ("config", "windows", "transfer", "samples", "tokenize", "split", "sources", "loader"),
    "checkpoint": ("config", "runs", "format", "store", "writer"),
    "training": (
        "divided", "optim", "schedule", "config", "distributed", "compile", "graphable", "fit", "cpu",
        "products", "parallel", "restore", "state", "step", "cuda_graph",
        "budget", "loggers", "log", "silent", "signals", "spikes", "report", "loop",
    ),
    "presets": ("depth", "loader"),
    "cli": ("app", "spelling", "idle", "budget", "train", "generate", "evaluate", "output", "doctor", "main"),
}  # fmt: skip


def gptmodel_modules() -> dict[str, Path]:
    """Return every module of gptmodel by its name without the package: ``training.optim.adamw``."""
    paths = {module_name(path): path for path in sources("gptmodel")}
    return {name.removeprefix("gptmodel."): path for name, path in paths.items() if name != "gptmodel"}


def gptmodel_imports(path: Path, modules: Iterable[str]) -> Iterator[str]:
    """Yield the modules of gptmodel that a file imports anywhere, under `TYPE_CHECKING` too."""
    for name in imported_modules(path):
        if top_level(name) == "gptmodel":
            target = name.removeprefix("gptmodel").removeprefix(".")
            while target and target not in modules:
                target = target.rpartition(".")[0]
            if target:
                yield target


def test_every_room_of_gptmodel_is_in_the_table() -> None:
    assert {top_level(name) for name in gptmodel_modules()} == set(GPTMODEL_ROOMS)
    for room, names in GPTMODEL_MODULES.items():
        inside = {name.split(".")[1] for name in gptmodel_modules() if name.startswith(f"{room}.")}
        assert inside == set(names), room


@pytest.mark.parametrize("name", gptmodel_modules())
def test_rooms_of_gptmodel_point_one_way(name: str) -> None:
    """Imports go down the table only, those inside functions and for the type checker included."""
    modules = gptmodel_modules()
    room, _, rest = name.partition(".")
    for target in gptmodel_imports(modules[name], modules):
        other, _, inner = target.partition(".")
        if other != room:
            assert GPTMODEL_ROOMS.index(other) < GPTMODEL_ROOMS.index(room), f"{name} imports {target}"
        elif rest and inner:
            order = GPTMODEL_MODULES[room]
            mine, theirs = order.index(top_level(rest)), order.index(top_level(inner))
            assert theirs <= mine, f"{name} imports {target}"
        else:
            assert not rest, f"{name} imports the face of its own room"


#: The modules of some rooms of gptbpe, each from the lowest up.
GPTBPE_MODULES: dict[str, tuple[str, ...]] = {
    "io": ("standard", "places", "ranges", "remote"),
    "shards": ("room", "cache", "reader", "writer", "samples", "sampler", "mixture", "build"),
    "shards.formats": ("documents", "arrow", "datatrove", "megatron"),
    "cluster": ("dividing", "plan", "item", "joining", "engines"),
}


@pytest.mark.parametrize("room", GPTBPE_MODULES)
def test_modules_of_gptbpe_point_one_way(room: str) -> None:
    folder, order = PYTHON / "gptbpe" / room.replace(".", "/"), GPTBPE_MODULES[room]
    assert {path.stem for path in folder.glob("*.py")} == {*order, "__init__"}
    for number, name in enumerate(order):
        for target in imported_modules(folder / f"{name}.py"):
            inner = target.removeprefix(f"gptbpe.{room}.")
            if inner != target:
                assert inner.split(".")[0] in order[:number], f"{name} imports {target}"


def test_modules_of_gptmodel_form_no_circle() -> None:
    modules = gptmodel_modules()
    arrows = {
        name: set(gptmodel_imports(path, modules)) - {name}
        for name, path in modules.items()
        if path.name != "__init__.py"
    }
    done = set[str]()
    while len(done) < len(arrows):
        free = {name for name, to in arrows.items() if name not in done and not (to & arrows.keys()) - done}
        assert free, f"a circle among {sorted(arrows.keys() - done)}"
        done |= free


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


@pytest.mark.parametrize("path", [*sources("gptbpe"), *sources("gptmodel")], ids=module_name)
def test_nothing_listens(path: Path) -> None:
    """No server, so nobody can connect: whoever adds one writes its tests of hostile requests first."""
    names = set(imported_modules(path))
    assert not {top_level(name) for name in names} & {
        "socketserver",
        "uvicorn",
        "fastapi",
        "flask",
        "aiohttp",
    }
    assert not names & {"http.server", "xmlrpc.server", "wsgiref.simple_server"}
    calls = {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert not calls & {"listen", "serve_forever", "start_server", "create_server"}


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
    faces = [path for path in sources("gptmodel") if path.name == "__init__.py"]
    faces += [PYTHON / "gptbpe" / "__init__.py", PYTHON / "gptbpe" / "shards" / "__init__.py"]
    for path in faces:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            assert isinstance(node, allowed), f"{path} line {node.lineno}: {type(node).__name__}"


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


#: The rooms of the core from the lowest up, and what each may import of those above it in this table.
ROOMS: dict[str, set[str]] = {
    "error": set(),
    "seed": set(),
    "unicode": set(),
    "alphabet": set(),
    "template": set(),
    "simd": {"error", "unicode"},
    "memory": {"error", "simd"},
    "pattern": {"error", "unicode"},
    "normalize": {"error", "pattern"},
    "pipeline": {"pattern", "normalize", "template"},
    "scan": {"error", "unicode", "alphabet", "simd", "memory", "pattern"},
    "merge": {"error", "seed", "simd", "memory"},
    "vocab": {"error", "seed", "simd", "memory", "merge"},
    "characters": {"error", "vocab"},
    "special": {"error", "seed", "vocab"},
    "documents": {"error", "memory", "special"},
    "model": {"memory", "vocab", "characters"},
    "rewrite": {"error", "pattern", "normalize", "pipeline", "scan", "special"},
    "fingerprint": {"pattern", "normalize", "pipeline", "vocab", "special", "model"},
    "publish": {"error"},
    "train": {
        "error", "seed", "simd", "memory", "documents", "pattern", "scan", "vocab", "fingerprint", "publish",
    },
    "encode": {
        "error", "seed", "unicode", "simd", "memory", "pattern", "scan", "merge", "vocab", "characters",
        "special", "model", "template", "rewrite",
    },
    "tokenizer": {
        "error", "pattern", "scan", "merge", "vocab", "characters", "special", "model", "fingerprint",
        "encode", "template", "normalize", "pipeline", "rewrite",
    },
    "places": {"error", "special", "rewrite", "encode", "tokenizer"},
    "encoding": {"error", "documents", "special", "model", "encode", "tokenizer"},
    "dropout": {"error", "merge", "vocab", "special", "model", "rewrite", "encode", "tokenizer", "encoding"},
    "decode": {"error", "memory", "special", "model", "tokenizer"},
    "shard": {"error", "publish", "simd"},
    "format": {
        "error", "alphabet", "template", "pattern", "normalize", "pipeline", "vocab", "characters", "special",
        "model", "tokenizer", "shard",
    },
    "oracle": {"train"},
}  # fmt: skip

RUST_NOISE = re.compile(
    r"""//[^\n]*                                     # a comment to the end of the line
      | /\*.*?\*/                                    # or between marks
      | b?r(?P<fence>\#*)".*?"(?P=fence)              # a raw string
      | b?"(?:\\.|[^"\\])*"                          # a string
      | b?'(?:\\[^u]|\\u\{\w+\}|[^'\\])'            # a character, no lifetime
    """,
    re.VERBOSE | re.DOTALL,
)


def without_tests(path: Path) -> str:
    """Return the code of a Rust file: no comments, no strings, nothing that only tests see."""
    code = RUST_NOISE.sub('""', path.read_text(encoding="utf-8"))
    while (found := re.search(r"#\[cfg\(test\)\]", code)) is not None:
        end = re.compile(r"[;{]").search(code, found.end())
        assert end is not None
        stop, depth = end.end(), int(end.group() == "{")
        while depth:
            depth += {"{": 1, "}": -1}.get(code[stop], 0)
            stop += 1
        code = code[: found.start()] + code[stop:]
    return code


def files_of_tests(folder: Path) -> set[Path]:
    """Return the files of the modules that are only there for tests."""
    found = set()
    for path in folder.rglob("*.rs"):
        code = RUST_NOISE.sub('""', path.read_text(encoding="utf-8"))
        parent = path.parent if path.name in ("mod.rs", "lib.rs") else path.with_suffix("")
        for name in re.findall(r"#\[cfg\(test\)\](?:\s*#\[[^\]]*\])*\s*mod (\w+);", code):
            found |= {parent / f"{name}.rs", *(parent / name).glob("*.rs")}
    return found


def core_modules() -> dict[tuple[str, ...], str]:
    """Return the code of every module of the core by its path: ``("pattern", "parser")``."""
    tests = files_of_tests(CORE)
    modules = {}
    for path in sorted(CORE.rglob("*.rs")):
        parts = path.relative_to(CORE).with_suffix("").parts
        if path not in tests and parts != ("lib",):
            modules[parts[:-1] if parts[-1] == "mod" else parts] = without_tests(path)
    return modules


def braced_paths(path: str) -> Iterator[str]:
    """Yield the paths that ``a::{b, c::{d, e}}`` stands for."""
    before, brace, rest = path.partition("{")
    if not brace:
        yield before
        return
    depth, start = 0, 0
    inner = rest[: rest.rindex("}")]
    for at, character in enumerate(inner + ","):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and not depth:
            if part := inner[start:at].strip():
                yield from braced_paths(before + part)
            start = at + 1


def rust_paths(code: str) -> Iterator[list[str]]:
    """Yield every path that begins with ``crate``, ``super`` or ``self``, in a ``use`` or anywhere else."""
    for found in re.finditer(r"(?<![\w:])(?:crate|super|self)\s*::\s*", code):
        end, depth = found.end(), 0
        while end < len(code) and (depth or re.match(r"[\w:{]|\s*::", code[end:])):
            depth += {"{": 1, "}": -1}.get(code[end], 0)
            end += 1
        for path in braced_paths(re.sub(r"\s+", " ", code[found.start() : end])):
            yield [part.strip().split(" as ")[0] for part in path.split("::") if part.strip()]


def imported_rooms(
    module: tuple[str, ...], code: str, modules: dict[tuple[str, ...], str]
) -> Iterator[tuple[str, ...]]:
    """Yield the modules that the code of ``module`` names, as deep as they are modules."""
    exports: dict[str, str] = {}
    root = RUST_NOISE.sub('""', (CORE / "lib.rs").read_text(encoding="utf-8"))
    for statement in re.findall(r"pub use ([^;]+);", root):
        for export in braced_paths(re.sub(r"\s+", " ", statement)):
            exported, *_, item = export.split("::")
            exports[item] = exported
    for head, *path in rust_paths(code):
        if head == "self":
            full = [*module, *path]
        elif head == "super":
            rest = [head, *path]
            ups = next((index for index, part in enumerate(rest) if part != "super"), len(rest))
            full = [*module[: len(module) - ups], *rest[ups:]]
        else:
            full = path
        if full and full[0] in exports:
            full = [exports[full[0]]]
        while full and tuple(full) not in modules:
            full.pop()
        if full:
            yield tuple(full)


def test_every_room_of_the_core_is_in_the_table() -> None:
    assert {path[0] for path in core_modules()} <= set(ROOMS)
    above = set[str]()
    for room, allowed in ROOMS.items():
        assert allowed <= above, f"{room} would import what lies over it: {allowed - above}"
        above.add(room)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_of_the_core_point_one_way(room: str) -> None:
    modules = core_modules()
    for path, code in modules.items():
        if path[0] == room:
            rooms = {target[0] for target in imported_rooms(path, code, modules)}
            wrong = rooms - ROOMS[room] - {room}
            assert not wrong, f"{'::'.join(path)} imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("room", ROOMS)
def test_modules_of_a_room_form_no_circle(room: str) -> None:
    """Siblings only: a module and those inside it are one thing, seen from outside and from inside."""
    modules = core_modules()
    arrows: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for path, code in modules.items():
        if path[0] == room:
            found = set(imported_rooms(path, code, modules))
            arrows[path] = {to for to in found if to[: len(path)] != path and path[: len(to)] != to}
    done = set[tuple[str, ...]]()
    while len(done) < len(arrows):
        free = {path for path, to in arrows.items() if path not in done and not (to & arrows.keys()) - done}
        assert free, f"a circle among {sorted('::'.join(path) for path in arrows.keys() - done)}"
        done |= free


def test_the_walk_through_the_core_has_walked() -> None:
    modules = core_modules()
    assert ("pattern", "parser") in modules
    assert ("scan", "tests") not in modules
    named = set(imported_rooms(("pattern", "parser"), modules["pattern", "parser"], modules))
    assert {("error",), ("unicode",), ("pattern", "ast")} <= named
    nested = "fn f() { crate::scan::g(super::super::vocab::h, crate::{error::{A, B}, Tokenizer}) }"
    found = set(imported_rooms(("pattern", "regex"), nested, modules))
    assert found == {("scan",), ("vocab",), ("error",), ("tokenizer",)}
