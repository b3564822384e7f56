"""A storey of the package imports only from those below it."""

import ast
from pathlib import Path

import labkit

PACKAGE = Path(labkit.__file__).parent

STOREYS = [  # from the ground up; those of one row know nothing of each other
    {"ground"},
    {"sparsity"},
    {"models", "data"},
    {"specs"},
    {"training"},
    {"runs"},
    {"studies"},
    {"figures"},
    {"notebook"},
    {"explore"},
]
HEAVY = {  # what takes seconds to import, or need not be there: from which storey on at the top of a module, if at all
    "torchvision": None,
    "huggingface_hub": None,
    "onnx": None,
    "onnxscript": None,
    "plotly": "figures",
    "ipywidgets": "explore",
    "anywidget": "explore",
}


def height(storey: str) -> int:
    return next(n for n, row in enumerate(STOREYS) if storey in row)


def modules():
    """Each module with its storey; `labkit/__init__` and `__main__` stand above all."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if len(parts := path.relative_to(PACKAGE).parts) > 1:
            yield parts[0], path


def imported(nodes) -> set[str]:
    """Dotted names that are imported: of modules, and of what is taken from them."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_every_folder_of_modules_is_a_storey():
    assert {storey for storey, _ in modules()} == set().union(*STOREYS)
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_imports_point_down():
    wrong = []
    for storey, path in modules():
        for name in imported(ast.walk(ast.parse(path.read_text()))):
            other = name.split(".")[1] if name.startswith("labkit.") else storey
            if other != storey and other != "__version__" and height(other) >= height(storey):
                wrong.append(f"{storey}/{path.name} imports {name}")
    assert not wrong


def test_heavy_libraries_are_imported_where_they_are_needed():
    for storey, path in modules():
        roots = {name.split(".")[0] for name in imported(ast.parse(path.read_text()).body)}
        for library, first in HEAVY.items():
            assert library not in roots or (first and height(storey) >= height(first)), path
