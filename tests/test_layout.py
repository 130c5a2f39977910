"""The house as it is meant to be: which room may use which, no circles, nothing loose. CONTRIBUTING has it too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "acclimate"

ROOMS = ("commands", "serving", "pipeline", "reporting", "runs", "methods", "data", "networks", "training", "trust")
"""Top to bottom: a room uses only those below it, and the ground floor."""

GROUND = ("config", "errors", "progress", "_version")
"""Files that every room may use."""

FACADE = ("__init__", "__main__")
"""What outsiders see; nothing inside uses it."""

SHARED_BY_METHODS = ("base", "registry", "unet_config")
"""Files of ``methods`` that are no method's room."""


@dataclass(frozen=True)
class Import:
    """A line of the package that uses another module of it."""

    file: Path
    line: int
    user: str
    used: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} uses {self.used}"


def module_name(file: Path) -> str:
    """Return a file's name in the package: ``methods.dann.config``, ``networks`` for ``networks/__init__.py``."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


@cache
def modules() -> dict[str, Path]:
    return {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


@cache
def imports() -> tuple[Import, ...]:
    """Return every use of one module by another, wherever it stands: in functions and for type checking too."""
    return tuple(one for name, file in modules().items() for one in imports_of(name, file))


def imports_of(name: str, file: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.relative_to(ROOT)}:{node.lineno} imports relatively: name the module"
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            if target.partition(".")[0] == "acclimate":
                inner = target.partition(".")[2] or "__init__"
                while inner not in modules():  # a name in a module
                    inner = inner.rpartition(".")[0] or "__init__"
                yield Import(file, node.lineno, name, inner)


def room_of(module: str) -> str:
    return module.partition(".")[0]


def broken(rule: str, lines: list[Import]) -> str:
    return "\n".join([rule, *(f"  {line}" for line in lines)])


def test_only_rooms_and_named_files_lie_in_the_top_folder() -> None:
    loose = {module for module in modules() if "." not in module and (PACKAGE / f"{module}.py").exists()}
    assert loose == {*GROUND, *FACADE}
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ROOMS)


def test_a_room_uses_only_rooms_below_it() -> None:
    def allowed(one: Import) -> bool:
        user, used = room_of(one.user), room_of(one.used)
        if user in FACADE or user == used:
            return True
        if used in GROUND:
            return user in ROOMS or user in GROUND
        return user in ROOMS and used in ROOMS and ROOMS.index(used) > ROOMS.index(user)

    wrong = [one for one in imports() if not allowed(one)]
    assert not wrong, broken(f"a room uses only those after it in {', '.join(ROOMS)}, and {', '.join(GROUND)}:", wrong)


def test_no_module_meets_itself_by_its_imports() -> None:
    uses = {module: {one.used for one in imports() if one.user == module} - {module} for module in modules()}
    while free := [module for module, used in uses.items() if not used & uses.keys()]:
        for module in free:
            del uses[module]
    tied = [one for one in imports() if one.user in uses and one.used in uses]
    assert not tied, broken("these lines close a circle:", tied)


def test_a_methods_networks_are_its_own() -> None:
    wrong = [one for one in imports() if one.used.endswith(".networks") and not one.user.startswith(one.used[:-9])]
    assert not wrong, broken("what several methods share belongs into the room networks:", wrong)


def test_every_method_is_one_room() -> None:
    loose = {file.stem for file in (PACKAGE / "methods").glob("*.py")} - {"__init__"}
    assert loose == set(SHARED_BY_METHODS)
    for room in (path for path in (PACKAGE / "methods").iterdir() if path.is_dir() and path.name != "__pycache__"):
        names = {file.stem for file in room.glob("*.py")}
        assert {"__init__", "method"} <= names <= {"__init__", "config", "networks", "method"}, room.name


def test_settings_and_the_registry_need_no_torch() -> None:
    """Static, over everything that help imports; that it is so in fact, the tests of the command line show."""
    seen, waiting = set(), [name for name in modules() if name.startswith("methods.") and name.endswith(".config")]
    waiting += ["methods.registry", "methods"]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            tree = ast.parse(modules()[module].read_text())
            typed = {id(node) for one in ast.walk(tree) if isinstance(one, ast.If) for node in ast.walk(one)}
            for node in ast.walk(tree):
                if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in typed:
                    names = (
                        [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
                    )
                    heavy = [name for name in names if name.partition(".")[0] in ("torch", "numpy", "scipy", "sklearn")]
                    assert not heavy, f"{modules()[module].relative_to(ROOT)}:{node.lineno} imports {heavy[0]}"
                    waiting += [one.used for one in imports() if (one.user, one.line) == (module, node.lineno)]


def test_tests_mirror_the_rooms() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and list(path.glob("test_*.py"))}
    assert folders == set(ROOMS)


def test_contributing_shows_the_same_plan() -> None:
    rows = re.findall(r"^\| `(\w+)/` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert tuple(rows) == ROOMS


def test_the_rules_bite(tmp_path: Path) -> None:
    file = tmp_path / "sinner.py"
    file.write_text("def f():\n    from acclimate.pipeline.adapt import adapt\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.imports", lambda: tuple(imports_of("training.loop", file)))
        patch.setattr(f"{__name__}.ROOT", tmp_path)
        with pytest.raises(AssertionError, match=r"sinner.py:2 uses pipeline.adapt"):
            test_a_room_uses_only_rooms_below_it()
