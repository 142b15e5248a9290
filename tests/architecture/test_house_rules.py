"""The rules of the house, checked: what a reviewer would otherwise have to remember.

Which way dependencies run stands in `pyproject.toml` and is checked by import-linter, which is run
here too.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import grimp
import pytest

import rag_engine
from rag_engine import errors

ROOT = Path(__file__).parents[2]
OURS = sorted([*ROOT.glob("shared/**/*.py"), *ROOT.glob("services/**/*.py")])
SAMPLES = ROOT / "tests/samples"  # documents for parsers, not our code
ALL = sorted(
    path
    for folder in ("shared", "services", "tests", "benchmarks", "scripts")
    for path in ROOT.glob(f"{folder}/**/*.py")
    if SAMPLES not in path.parents
)

LONGEST_FILE, AIM_FILE = 600, 400
LONGEST_FUNCTION, AIM_FUNCTION = 60, 35

READS_THE_ENVIRONMENT = {
    "shared/rag_engine/settings.py",
    # Reads no setting: it hands on the few variables without which a child process cannot start.
    "shared/rag_engine/adapters/parsers/process.py",
    # NO_COLOR is no setting of ours, and errors are printed before there are settings.
    "services/cli/rag_engine_cli/terminal.py",
}
VAGUE = re.compile(r"utils?|helpers?|managers?|common|misc", re.IGNORECASE)
VAGUE_CLASS = re.compile(r"^_?(Base|Abstract)[A-Z]|(Manager|Utils?|Helpers?)$")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def nodes(path: Path, *kinds: type[ast.AST]) -> list[Any]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, kinds)]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever it does so."""
    found = set[str]()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def test_there_are_files_to_check() -> None:
    assert len(OURS) > 30
    assert ROOT / "shared/rag_engine/errors.py" in OURS


def test_files_are_short() -> None:
    lengths = {name(path): path.read_text(encoding="utf-8").count("\n") for path in ALL}
    for path, lines in lengths.items():
        if lines > AIM_FILE:
            print(f"note: {path} has {lines} lines; aim for {AIM_FILE}")
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    lengths = {}
    for path in ALL:
        for node in nodes(path, ast.FunctionDef, ast.AsyncFunctionDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            lengths[f"{name(path)}:{node.lineno} {node.name}"] = node.end_lineno - first + 1
    for where, lines in lengths.items():
        if lines > AIM_FUNCTION:
            print(f"note: {where} has {lines} lines; aim for {AIM_FUNCTION}")
    assert {where: n for where, n in lengths.items() if n > LONGEST_FUNCTION} == {}


def test_annotations_are_never_evaluated_at_import() -> None:
    def begins_right(path: Path) -> bool:
        body = tree(path).body
        if body and isinstance(body[0], ast.Expr):  # the docstring
            body = body[1:]
        first = body[0] if body else None
        return isinstance(first, ast.ImportFrom) and first.module == "__future__"

    assert [name(path) for path in ALL if path.stat().st_size and not begins_right(path)] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [name(path) for path in OURS if not ast.get_docstring(tree(path))]
    assert [path for path in silent if not path.endswith("__init__.py")] == []


def test_names_say_something() -> None:
    assert [name(path) for path in OURS if VAGUE.fullmatch(path.stem)] == []
    classes = [(path, node) for path in OURS for node in nodes(path, ast.ClassDef)]
    assert classes
    vague = [f"{name(path)} {one.name}" for path, one in classes if VAGUE_CLASS.search(one.name)]
    assert vague == []


def test_nothing_is_left_to_be_done() -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [name(path) for path in OURS if unfinished.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_folders_that_hold_packages_are_none() -> None:
    """`shared/`, `services/` and `services/<name>/` hold uniquely named import packages."""
    holders = [ROOT / "shared", ROOT / "services", *(ROOT / "services").glob("*/")]
    assert [name(path) for path in holders if (path / "__init__.py").exists()] == []


def test_only_settings_read_the_environment() -> None:
    readers = set()
    for path in OURS:
        uses = {f"{one.value.id}.{one.attr}" for one in nodes(path, ast.Attribute) if _plain(one)}
        if (uses | imports(path)) & {"os.environ", "os.getenv", "os.environb"}:
            readers.add(name(path))
    assert readers <= READS_THE_ENVIRONMENT


def _plain(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name)


def test_only_wiring_imports_adapters() -> None:
    importers = {
        name(path)
        for path in OURS
        if any(one.startswith("rag_engine.adapters.") for one in imports(path))
    }
    inside = {one for one in importers if one.startswith("shared/rag_engine/adapters/")}
    assert importers - inside <= {"shared/rag_engine/wiring.py"}


def test_adapters_do_not_know_each_other() -> None:
    """Neither sideways: what two adapters share belongs in `core` or `ports`."""
    strangers = []
    for path in OURS:
        parts = path.relative_to(ROOT / "shared").parts if "shared" in name(path) else ()
        if parts[:2] != ("rag_engine", "adapters") or len(parts) < 4:
            continue
        for module in imports(path):
            other = module.split(".")
            if other[:2] == ["rag_engine", "adapters"] and other[2:3] not in ([], [parts[2]]):
                strangers.append(f"{name(path)} imports {module}")
    assert strangers == []


def test_there_is_no_import_cycle() -> None:
    ours = ("rag_engine", "rag_engine_cli", "rag_engine_lightrag", "rag_engine_api")
    packages = [one for one in ours if _importable(one)]
    graph = grimp.build_graph(
        *packages, exclude_type_checking_imports=True, include_external_packages=False
    )
    cycles = sorted(
        module
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if module in graph.find_upstream_modules(imported)
    )
    assert cycles == []


def test_dependencies_run_one_way() -> None:
    if not _importable("rag_engine_cli"):
        pytest.skip("The CLI is not there yet.")
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _importable(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def test_the_error_tree_is_drawn_as_it_is() -> None:
    drawn = _drawn(inspect.getdoc(errors) or "")
    real = {
        one.__name__: one.__base__.__name__
        for one in vars(errors).values()
        if inspect.isclass(one) and issubclass(one, errors.RagEngineError)
    }
    del real["RagEngineError"]
    assert drawn == real


def _drawn(text: str) -> dict[str, str]:
    """The parent of each class in the picture, by how far it is indented."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        found = re.match(r"^([ │├└─]*)([A-Z]\w+)\b( {2,}|$)", line)
        if not found:
            continue
        depth, one = len(found[1]), found[2]
        above = [(level, other) for level, other in above if level < depth]
        if above:
            parents[one] = above[-1][1]
        above.append((depth, one))
    return parents


def test_every_error_says_what_it_means() -> None:
    for one in vars(errors).values():
        if inspect.isclass(one) and issubclass(one, errors.RagEngineError):
            assert one.__doc__
            assert isinstance(one.retryable, bool)


def test_the_public_names_are_these() -> None:
    """Adding one is a promise, taking one away a breach: change the list knowingly."""
    assert rag_engine.__all__ == sorted(rag_engine.__all__)
    assert len(rag_engine.__all__) == len(set(rag_engine.__all__))
    for one in rag_engine.__all__:
        assert getattr(rag_engine, one) is not None
    assert " ".join(rag_engine.__all__).split() == PUBLIC


PUBLIC = (
    "Alias Answer Budget CallerError Chunk Context Document Engine Entity Fact Found Message "
    "Metadata ParsedDocument Question RagEngineError Reference Relation Settings Stage Suppression "
    "TextDelta Version VersionStatus Watch WorldError build load_settings parse_filter"
).split()
