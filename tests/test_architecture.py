"""The library's floors: docs/architecture.md names the rooms of each, and imports go down only."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "workflow" / "heteroforge"


def floors() -> dict[str, int]:
    """Floor of each room, by the table of docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d) \| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE)
    return {room: int(floor) for floor, rooms in rows for room in re.findall(r"\w+", rooms)}


def imported(path: Path) -> list[str]:
    """Modules of the library that a file imports anywhere, by their full names."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import, line {node.lineno}"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name for name in found if name.startswith("heteroforge.")]


def test_every_room_has_a_floor():
    rooms = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert set(floors()) == rooms


def test_imports_go_down_only():
    """Rooms of one floor may know each other; none knows the modules above all rooms."""
    floor = floors()
    up = [
        f"{path.relative_to(LIBRARY)}: {name}"
        for path in sorted(LIBRARY.glob("*/**/*.py"))
        for name in imported(path)
        if floor.get(name.split(".")[1], 5) > floor[path.relative_to(LIBRARY).parts[0]]
    ]
    assert not up
