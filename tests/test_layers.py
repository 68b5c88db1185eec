"""Imports point one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LAYERS = [
    "config", "taxonomy", "encoders", "views", "nn", "method", "data", "datasets", "features", "checkpoint", "run",
    "record", "figures", "hub", "card", "handover", "log", "interrupt", "machine", "profiling", "display",
    "optimizers", "batches", "evaluation", "evaluations", "doctor", "report", "agreement", "recipes", "pretraining",
    "declared", "registry", "survey", "api", "flags", "scaffold", "testing", "cli", "__main__",
]  # fmt: skip
OPEN_TO_PLUGINS = {"config", "taxonomy", "encoders", "views", "nn", "method"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def layer(module: str) -> str:
    """``sslzoo.data.loader`` is of the layer ``data``."""
    return module.split(".")[1]


def imported(path: Path, package: str) -> set[str]:
    """The modules of ``package`` a file imports at run time: imports for annotations only do not count."""
    found: set[str] = set()
    for node in ast.walk(_without_type_checking(ast.parse(path.read_text()))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == package:
                found |= {f"{package}.{alias.name}" for alias in node.names}
            elif node.module.startswith(f"{package}."):
                found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith(f"{package}.")}
    return found


def _without_type_checking(tree: ast.Module) -> ast.Module:
    class Drop(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    return Drop().visit(tree)


@pytest.mark.parametrize("path", modules("sslzoo"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_layers_before_its_own(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts == ("sslzoo", "__init__"):
        return  # its lazy names are api's and hub's
    own = LAYERS.index(parts[1])
    for module in imported(path, "sslzoo"):
        if module in ("sslzoo.__version__",):
            continue
        assert LAYERS.index(layer(module)) <= own, f"{path.name} of {parts[1]} imports {module}"


@pytest.mark.parametrize("path", modules("sslzoo"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_never_imports_a_plugin(path: Path) -> None:
    assert not imported(path, "sslzoo_plugins")
    assert "sslzoo_plugins" not in path.read_text()


@pytest.mark.parametrize("path", modules("plugins/sslzoo_plugins"), ids=lambda path: path.stem)
def test_plugins_import_only_the_open_part_of_the_core(path: Path) -> None:
    assert {layer(module) for module in imported(path, "sslzoo")} <= OPEN_TO_PLUGINS


def test_the_http_library_of_the_hubs_client_is_never_imported() -> None:
    """It was exchanged twice: requests, httpx, httpx2."""
    http = {"requests", "httpx", "httpx2", "urllib3", "aiohttp"}
    for path in [*modules("sslzoo"), *modules("plugins"), ROOT / "hubconf.py"]:
        nodes = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        names = {alias.name for node in nodes for alias in node.names} | {getattr(node, "module", "") for node in nodes}
        assert not http & {str(name).partition(".")[0] for name in names}, path
