"""Every plugin is imported in another process, and none of them keeps it from the next."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from plugin_texts import DATASET, EVALUATION, METHOD, Install, install_plugin

from sslzoo import survey as module
from sslzoo.survey import Plugin, declared_plugins, survey

BROKEN = {
    Plugin("methods", "kills"): ("import os\nos._exit(3)", "ends the process on import, with exit code 3"),
    Plugin("methods", "twice"): (METHOD, "method 'twice' is declared twice: .*from another-ssl.*from twice-ssl"),
    Plugin("methods", "leaves"): ("print('bye')\nraise SystemExit", "does not import: SystemExit"),
    Plugin("methods", "other"): (METHOD, "calls itself 'acme', not 'other'"),
    Plugin("methods", "hangs"): ("import time\n\ntime.sleep(3600)", r"hangs on import: after 1.5 s .*hangs_ssl\.py:3"),
    Plugin("evaluations", "fails-measure"): ("1 / 0", "does not import: ZeroDivisionError: division by zero"),
    Plugin("evaluations", "newer-measure"): (EVALUATION.replace("'S'", "'S', contract=2"), "is written for contract 2"),
    Plugin("evaluations", "other-measure"): (EVALUATION, "calls itself 'acme', not 'other-measure'"),
    Plugin("datasets", "fails-pictures"): ("raise OSError('no disk')", "does not import: OSError: no disk"),
    Plugin("datasets", "newer-pictures"): (DATASET.replace("'S'", "'S', contract=2"), "is written for contract 2"),
    Plugin("datasets", "other-pictures"): (DATASET, "calls itself 'acme', not 'other-pictures'"),
    # A C function that keeps the interpreter's lock, so that nothing else of its process runs.
    Plugin("datasets", "stalls"): ("import ctypes\nctypes.PyDLL(None).sleep(3600)", "no sign of life after 1.5 s"),
}
LOUD = "import os, sys\nprint('loud')\nprint('loud', file=sys.stderr)\nos.write(1, b'loud')\nos.write(2, b'loud')\n"


def test_broken_plugins_of_all_kinds_are_told_apart_and_spare_the_rest(
    install: Install, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for (kind, name), (text, _) in BROKEN.items():
        install_plugin(install, kind, name, text)
    install("another-ssl", {"sslzoo.methods": {"twice": "another:Twice"}})
    install_plugin(install, "methods", "loud", LOUD + METHOD.replace("'acme'", "'loud'"))
    install_plugin(install, "datasets", "acme", DATASET)
    monkeypatch.setattr(module, "GRACE", 3.0)
    *most, stalls = BROKEN
    found = survey([*most, Plugin("methods", "loud"), Plugin("datasets", "acme"), stalls], seconds=1.5)
    assert list(found) == list(BROKEN)
    for plugin, reason in found.items():
        assert re.search(BROKEN[plugin][1], reason), reason
        assert f"(from {plugin.name}-ssl)" in reason and "\n" not in reason
    captured = capfd.readouterr()
    assert "loud" not in captured.out + captured.err and "bye" not in captured.out


def test_a_survey_is_of_every_declared_plugin() -> None:
    declared = declared_plugins()
    assert {Plugin("methods", "rotation"), Plugin("evaluations", "knn"), Plugin("datasets", "cliparts")} <= {*declared}


def test_surveying_leaves_this_process_without_any_plugin() -> None:
    code = (
        "import sys; from sslzoo.survey import Plugin, survey\n"
        "if __name__ == '__main__':\n"
        "    assert survey([Plugin('methods', 'rotation')]) == {}\n"
        "    assert not {'torch', 'sslzoo_plugins'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
