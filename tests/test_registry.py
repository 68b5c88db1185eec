"""Plugins are found by name, listed without running, and a broken one harms nobody else."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from plugin_texts import METHOD, SOUND, Install, install_plugin
from sslzoo_plugins.context.rotation import Rotation

from sslzoo.config import UsageError
from sslzoo.registry import KINDS, BrokenPlugin, HangingPlugin, Listed, method_info, methods


def acme(kind: str = "methods") -> Listed:
    return next(plugin for plugin in KINDS[kind].listed() if plugin.name == "acme")


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


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_plugin_of_another_package_is_loaded_and_listed(install: Install, kind: str) -> None:
    install_plugin(install, kind, "acme", SOUND[kind])
    assert KINDS[kind].load("acme").info.name == "acme"
    assert acme(kind).package == "acme-ssl" and not acme(kind).objection


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import a_package_that_does_not_exist",
            "ModuleNotFoundError: No module named 'a_package_that_does_not_exist'",
        ),
        ("def", r"SyntaxError: invalid syntax \(acme_ssl.py, line 1\)"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt:"),
        (r"raise RuntimeError('one\n   two')", "RuntimeError: one two"),
        ("", "AttributeError: module 'acme_ssl' has no attribute 'Acme'"),
    ],
)
def test_what_a_plugin_raises_on_import_is_told_in_one_line_with_its_package(
    install: Install, kind: str, text: str, said: str
) -> None:
    install_plugin(install, kind, "acme", text)
    with pytest.raises(BrokenPlugin, match=rf"^acme_ssl:Acme \(from acme-ssl\) does not import: {said}$"):
        KINDS[kind].load("acme")
    assert methods.load("rotation") is Rotation


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What a plugin waits for that has ``import gate`` and ``gate.wait()``; opened after the test."""
    module, event = ModuleType("gate"), threading.Event()
    module.__dict__["wait"] = event.wait
    monkeypatch.setitem(sys.modules, "gate", module)
    yield event
    event.set()


def test_a_plugin_that_hangs_on_import_is_left_and_says_where(install: Install, gate: threading.Event) -> None:
    install_plugin(install, "methods", "acme", "import gate\n\n\ngate.wait()\n")
    said = r"^acme_ssl:Acme \(from acme-ssl\) hangs on import: after 0.1 s it is at /.*acme_ssl\.py:4$"
    with pytest.raises(HangingPlugin, match=said):
        methods.load("acme", seconds=0.1)
    assert methods.load("rotation") is Rotation


def test_an_interrupt_while_a_plugin_is_imported_is_the_users(install: Install, gate: threading.Event) -> None:
    interrupting = "import gate, signal, threading\nsignal.pthread_kill(threading.main_thread().ident, signal.SIGINT)\n"
    install_plugin(install, "methods", "acme", f"{interrupting}gate.wait()\n")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts with & ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            methods.load("acme")
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_time_that_torch_takes_is_not_the_plugins(install: Install) -> None:
    install_plugin(install, "methods", "acme", f"import sys\nassert 'sslzoo.method' in sys.modules\n{METHOD}")
    code = "from sslzoo.registry import methods; methods.load('acme')"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_declared_twice_names_both_packages(install: Install) -> None:
    install("acme-ssl", {"sslzoo.methods": {"rotation": "acme_ssl:Acme"}})
    with pytest.raises(BrokenPlugin, match=r"^method 'rotation' is declared twice: .*acme-ssl.*uninstall one$"):
        methods.load("rotation")
    twice = next(plugin for plugin in methods.listed() if plugin.name == "rotation")
    assert (twice.package, twice.objection) == ("acme-ssl and sslzoo", "is declared twice")


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_for_a_newer_contract_is_refused_before_it_is_imported(install: Install, kind: str) -> None:
    newer = "import from_the_future\n" + SOUND[kind].replace(
        "summary='S'", "summary='S', mood=from_the_future.MOOD, contract=2"
    )
    install_plugin(install, kind, "acme", newer)
    with pytest.raises(
        BrokenPlugin, match=r"\(from acme-ssl\) is written for contract 2 and this sslzoo \S+ speaks 1: pip"
    ):
        KINDS[kind].load("acme")
    assert acme(kind).objection.startswith("is written for contract 2")


def test_a_newer_contract_that_is_no_literal_is_refused_all_the_same(install: Install) -> None:
    install_plugin(install, "methods", "acme", METHOD.replace("summary='S'", "summary='S', contract=int('2')"))
    with pytest.raises(BrokenPlugin, match="is written for contract 2"):
        methods.load("acme")


@pytest.mark.parametrize(
    ("requires", "extras", "refused"),
    [
        ("sslzoo>=99", "", True),
        ("SSLzoo[trackers] (>=99)", "", True),
        ("sslzoo<0.0.1", "", True),
        ("sslzoo>=0.0.1", "", False),
        ("another>=99", "", False),
        ("sslzoo>=99; python_version < '3'", "", False),
        ("sslzoo>=99; extra == 'zoo'", "", False),
        ("sslzoo>=99; extra == 'zoo'", "[zoo]", True),
        ("sslzoo>=>=", "", False),
    ],
)
def test_a_package_that_requires_another_sslzoo_is_refused_with_both_versions(
    install: Install, requires: str, extras: str, refused: bool
) -> None:
    install_plugin(install, "methods", "acme", METHOD, requires=requires, extras=extras)
    if refused:
        with pytest.raises(
            BrokenPlugin, match=r"needs sslzoo(>=99|<0.0.1) and this is sslzoo \d\S+: pip install .*acme-ssl"
        ):
            methods.load("acme")
        assert acme().objection.startswith("needs sslzoo")
    else:
        assert methods.load("acme") and not acme().objection


@pytest.mark.parametrize(
    ("kind", "sound", "broken", "said"),
    [
        *((kind, "name='acme'", "name='other'", "calls itself 'other', not 'acme'") for kind in KINDS),
        *((kind, "    info = ", "    other = ", "has no info that is a .*Info") for kind in KINDS),
        ("methods", "(PretextMethod)", "", "is not a PretextMethod"),
        ("methods", "def forward", "def other", "does not implement forward"),
        ("methods", "PretrainConfig()", "{}", "has no defaults that is a PretrainConfig"),
        ("methods", "Config = ", "other = ", "has no Config that is a type"),
        ("methods", "frozen=True", "", "has a Config that is no frozen dataclass"),
        ("methods", "int = 4", "int", "has a Config with no default for sides"),
        ("methods", "):\n    info", "):\n    def __init__(self, encoder): ...\n    info", "cannot be built"),
        ("evaluations", "int = 4", "int", "has a Config with no default for k"),
        ("datasets", "):\n    info", "):\n    def __init__(self, root): ...\n    info", "cannot be built"),
    ],
)  # fmt: skip
def test_a_plugin_that_does_not_keep_its_contract_is_refused_with_what_it_lacks(
    install: Install, kind: str, sound: str, broken: str, said: str
) -> None:
    assert sound in SOUND[kind]
    install_plugin(install, kind, "acme", SOUND[kind].replace(sound, broken))
    with pytest.raises(BrokenPlugin, match=rf"^acme_ssl:Acme \(from acme-ssl\) {said}"):
        KINDS[kind].load("acme")


def test_an_entry_point_that_names_nothing_is_refused(install: Install) -> None:
    install("acme-ssl", {"sslzoo.methods": {"acme": "acme/ssl.py"}})
    with pytest.raises(BrokenPlugin, match=r"acme/ssl.py \(from acme-ssl\) is not of the form module:Class"):
        methods.load("acme")
    assert acme().objection and acme().info is None


def test_listing_reads_info_without_running_any_plugin(install: Install) -> None:
    folder = install("acme-ssl", {f"sslzoo.{kind}": {"acme": f"acme_ssl.{kind}:Acme"} for kind in KINDS})
    (folder / "acme_ssl").mkdir()
    (folder / "acme_ssl" / "__init__.py").write_text("raise SystemExit('ran')\n")
    for kind, text in SOUND.items():
        (folder / "acme_ssl" / f"{kind}.py").write_text(f"raise SystemExit('ran')\n{text}")
    info = method_info(acme())
    assert info is not None and info.family == "jigsaw" and info.paper.year == 2020
    assert acme("evaluations").info == {
        "name": "acme", "version": 3, "metric": "purity", "modalities": ("image",), "summary": "S"
    }  # fmt: skip
    assert (acme("datasets").info or {})["splits"] == ("left", "right")


def test_only_the_literals_of_an_info_are_listed(install: Install) -> None:
    install_plugin(
        install, "methods", "acme", METHOD.replace("'jigsaw'", "FAMILY").replace("    info =", "    info: X =")
    )
    assert (acme().info or {})["category"] == "context" and "family" not in (acme().info or {})
    assert method_info(acme()) is None


def test_what_listing_reads_is_what_the_class_holds() -> None:
    for registry in KINDS.values():
        for plugin in registry.listed():
            held = registry.load(plugin.name).info
            assert plugin.info is not None, f"{plugin.name}: info is no literal"
            assert plugin.info["name"] == held.name and plugin.info["summary"] == held.summary
    rotation = next(plugin for plugin in methods.listed() if plugin.name == "rotation")
    assert method_info(rotation) == Rotation.info


def test_listing_and_help_never_import_torch() -> None:
    code = (
        "import sys; from sslzoo.cli import main; import sslzoo\n"
        "for kind in 'methods', 'evaluations', 'datasets':\n"
        "    main(['list', '--kind', kind]); main(['list', '--kind', kind, '--json'])\n"
        "main(['list', '--markdown']); main(['--help'])\n"
        "assert not {'torch', 'timm', 'numpy', 'datasets', 'sslzoo_plugins'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
