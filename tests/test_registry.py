"""Plugins are found by name, listed without running, and a broken one harms nobody else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sslzoo_plugins.context.rotation import Rotation

from sslzoo.config import UsageError
from sslzoo.registry import BrokenPlugin, datasets, evaluations, method_info, methods

Install = Callable[..., Path]


def test_first_party_methods_come_through_the_public_door() -> None:
    assert methods.load("rotation") is Rotation


def test_every_plugin_file_has_its_line_in_the_entry_point_table() -> None:
    folder = Path(__file__).parent.parent / "plugins" / "sslzoo_plugins"
    files = {path.stem for path in folder.glob("*/*.py") if path.stem != "__init__"}
    assert files <= set(methods.names()), "run pip install -e . again after adding a line to pyproject.toml"


def test_an_unknown_name_says_what_was_perhaps_meant() -> None:
    with pytest.raises(UsageError, match="did you mean 'rotation'"):
        methods.load("rotatoin")
    with pytest.raises(UsageError, match="there are: .*rotation"):
        methods.load("zzz")


def test_a_broken_plugin_names_its_package_and_spares_the_others(install: Install) -> None:
    folder = install("acme-ssl", {"sslzoo.methods": {"acme": "acme_ssl:Acme"}})
    (folder / "acme_ssl.py").write_text("import a_package_that_does_not_exist\n")
    with pytest.raises(BrokenPlugin, match=r"acme_ssl:Acme \(from acme-ssl\) does not import: ModuleNotFoundError"):
        methods.load("acme")
    found = dict(methods.survey())
    assert isinstance(found["acme"], BrokenPlugin) and found["rotation"] is Rotation


def test_a_name_declared_twice_names_both_packages(install: Install) -> None:
    install("acme-ssl", {"sslzoo.methods": {"rotation": "acme_ssl:Acme"}})
    with pytest.raises(BrokenPlugin, match="declared twice: .*acme-ssl.*uninstall one"):
        methods.load("rotation")


def test_a_plugin_under_another_name_than_its_own_is_refused(install: Install) -> None:
    install("acme-ssl", {"sslzoo.methods": {"acme": "sslzoo_plugins.context.rotation:Rotation"}})
    with pytest.raises(BrokenPlugin, match="calls itself 'rotation', not 'acme'"):
        methods.load("acme")


def test_something_that_is_no_method_is_refused(install: Install) -> None:
    install("acme-ssl", {"sslzoo.methods": {"acme": "json:JSONDecoder"}})
    with pytest.raises(BrokenPlugin, match="is not a PretextMethod"):
        methods.load("acme")


def test_listing_reads_info_without_running_any_plugin(install: Install) -> None:
    folder = install("acme-ssl", {"sslzoo.methods": {"acme": "acme_ssl.method:Acme"}})
    (folder / "acme_ssl").mkdir()
    (folder / "acme_ssl" / "__init__.py").write_text("raise SystemExit('ran')\n")
    (folder / "acme_ssl" / "method.py").write_text(
        "raise SystemExit('ran')\n"
        "class Acme:\n"
        "    info = MethodInfo(name='acme', category='context', family='jigsaw', modalities=('image',), summary='S',\n"
        "                      paper=Paper(authors='A', title='T', venue='V', year=2020, url='u'))\n"
    )
    listed = {plugin.name: plugin for plugin in methods.listed()}
    assert listed["acme"].package == "acme-ssl"
    info = method_info(listed["acme"])
    assert info is not None and info.family == "jigsaw" and info.paper.year == 2020


def test_what_listing_reads_is_what_the_class_holds() -> None:
    for registry in (methods, evaluations, datasets):
        for plugin in registry.listed():
            held = registry.load(plugin.name).info
            assert plugin.info is not None, f"{plugin.name}: info is no literal"
            assert plugin.info["name"] == held.name and plugin.info["summary"] == held.summary
    rotation = next(plugin for plugin in methods.listed() if plugin.name == "rotation")
    assert method_info(rotation) == Rotation.info


def test_listing_and_help_never_import_torch() -> None:
    code = (
        "import sys; from sslzoo.cli import main; import sslzoo\n"
        "main(['list']); main(['list', '--json']); main(['--help'])\n"
        "assert not {'torch', 'timm', 'numpy', 'sslzoo_plugins'} & set(sys.modules), 'too much was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
