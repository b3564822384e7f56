"""A module imports only from lower layers."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "labkit"

LAYERS = [
    {"names", "masks", "schedules", "randomness", "capture", "interrupts"},
    {
        "steps",
        "lists",
        "scores",
        "flops",
        "chance",
        "allocation",
        "tensorfiles",
        "progress",
        "device",
        "optimizers",
        "concurrency",
    },
    {"pruning", "models", "data", "topology", "claims"},
    {"specs"},
    {
        "geometry",
        "kernels",
        "store",
        "provenance",
        "ticketfile",
        "parameters",
        "sparse_specs",
        "ticket_specs",
    },
    {"revisions", "record", "population", "derivatives", "batch_norm", "trajectory", "evaluation", "identity"},
    {"dynamics"},
    {"training", "runs"},
    {"experiment"},
    {"cost"},
    {"computation"},
    {"tickets", "sparse"},
    {"metrics", "check", "tuning", "sparse_rows"},
    {"style", "titles", "sparse_metrics"},
    {"figures", "learning_figures", "findings", "results", "tables", "sparse_figures", "tuning_figures", "tradeoffs"},
    {"report"},
]


def layer_of(module: str) -> int:
    return next(n for n, layer in enumerate(LAYERS) if module in layer)


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "labkit":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("labkit.")}
    return found - {"__version__"}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if module != "__init__":
            yield module, path


def test_every_module_has_a_layer():
    assert {module for module, _ in modules()} == set().union(*LAYERS)


def test_imports_point_down():
    wrong = [
        f"{path.name} imports {other}"
        for module, path in modules()
        for other in imported(path) - {module}
        if layer_of(other) >= layer_of(module)
    ]
    assert not wrong


def test_lower_layers_do_not_import_torchvision_or_plotly_at_the_top():
    for module, path in modules():
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in top if isinstance(node, ast.ImportFrom) and node.module}
        roots = {name.split(".")[0] for name in names}
        assert "torchvision" not in roots, path
        assert "plotly" not in roots or layer_of(module) >= layer_of("style"), path
