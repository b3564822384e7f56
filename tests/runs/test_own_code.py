"""Users' code: what changes its digest, what does not, and an edit that Python does not know of."""

import importlib
import subprocess
import sys

import pytest

from labkit.runs.own_code import code_digest

NET = '''"""A model."""

from torch import nn


class Net(nn.Module):
    """With a layer."""

    def forward(self, x):
        """Halve what is positive."""
        return sum(0.5 * y for y in x if y > 0 and y not in {1.0, 2.0})


def net(width=1):
    return Net()
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module and import it, each time from its file."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(source):
        (tmp_path / "own_net.py").write_text(source)
        sys.modules.pop("own_net", None)
        importlib.invalidate_caches()
        return importlib.import_module("own_net")

    yield load
    sys.modules.pop("own_net", None)


def test_what_a_module_does_counts_and_how_it_is_written_does_not(module):
    plain = code_digest(module(NET).net)
    commented = NET.replace("return Net()", "# the network\n    return (Net())").replace("Halve what", "Halve all that")
    assert code_digest(module(commented).net) == plain
    for old, new in (("0.5", "0.25"), ("width=1", "width=2"), ("y > 0", "y >= 0"), ("1.0, 2.0", "1.0, 3.0")):
        assert code_digest(module(NET.replace(old, new)).net) != plain, new
    assert code_digest(module(NET).Net) != plain, "another name of the same module"


def test_a_file_that_was_edited_after_its_import_is_refused(module, tmp_path):
    loaded = module(NET)
    for old, new in (("0.5", "0.25"), ("return Net()", "return None"), ("y > 0", "y >= 0"), ("def net", "def not")):
        (tmp_path / "own_net.py").write_text(NET.replace(old, new))
        with pytest.raises(ValueError, match="was edited after it was imported: .*Restart Python"):
            code_digest(loaded.net)
    code_digest(module(NET).net)
    loaded = sys.modules["own_net"]
    (tmp_path / "own_net.py").write_text(NET.replace("width=1", "width=2"))
    with pytest.raises(ValueError, match="own_net is not what the file says now"):
        code_digest(loaded.net)
    (tmp_path / "own_net.py").write_text(NET.replace("Halve what", "Halve all that") + "\n# an afterthought\n")
    assert code_digest(loaded.net) == code_digest(module(NET).net), "it does what it says"


def test_a_module_that_was_reloaded_is_what_its_file_says(module, tmp_path):
    loaded = module(NET)
    before = code_digest(loaded.net)
    (tmp_path / "own_net.py").write_text(NET.replace("0.5", "0.25").replace("width=1", "width=2"))
    importlib.reload(loaded)
    assert code_digest(loaded.net) != before


def test_decorated_and_chosen_functions_are_as_they_are_written(module):
    source = (
        NET
        + """

import functools
import torch

if torch.__version__:
    @functools.cache
    def chosen():
        return 1
else:
    def chosen():
        return 2


class Wrapped(Net):
    @property
    def size(self):
        return 3

    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)

    @staticmethod
    def twice(x):
        return 2 * x
"""
    )
    loaded = module(source)
    assert code_digest(loaded.chosen) and code_digest(loaded.Wrapped)


def test_code_without_a_file_is_refused():
    namespace = {}
    exec("def net():\n    return 1\n", namespace)
    for function in (lambda: None, namespace["net"], print):
        with pytest.raises(ValueError, match="must be a function or a class that a module file holds by that name"):
            code_digest(function)


def test_what_its_module_does_not_hold_by_that_name_is_refused(module):
    """A method of an object, a closure and a function of before a reload are not what the file says alone."""
    loaded = module(
        NET
        + """

import functools


class Noise:
    def __init__(self, size):
        self.size = size

    def start(self):
        return self.size


def scaled(by):
    @functools.wraps(net)
    def inner(width=1):
        return by
    return inner
"""
    )
    before = loaded.net
    importlib.reload(loaded)
    for function in (loaded.Noise(0.1).start, loaded.scaled(2), before):
        with pytest.raises(ValueError, match="must be a function or a class that a module file holds by that name"):
            code_digest(function)
    assert code_digest(loaded.net) and code_digest(loaded.Noise)


@pytest.mark.parametrize(
    ("old", "new"),
    [("WIDTH = 20", "WIDTH = 33"), ("size = 3", "size = 4"), ("self.unit", "self.other"), ("return cls", "return 1"),
     ("by=2", "by=3")],
)  # fmt: skip
def test_an_edit_between_import_and_first_look_is_seen(module, tmp_path, old, new):
    source = (
        NET
        + """
WIDTH = 20


class More(Net):
    size = 3

    @property
    def area(self):
        return self.unit

    @classmethod
    def made(cls):
        return cls


def scaled(x, by=2):
    return by * x
"""
    )
    loaded = module(source)
    (tmp_path / "own_net.py").write_text(source.replace(old, new))
    with pytest.raises(ValueError, match="was edited after it was imported"):
        code_digest(loaded.net)


def test_files_in_other_encodings_and_classes_that_hold_themselves_are_read(module, tmp_path):
    loaded = module(NET + "\n\nNet.kind = Net\n")
    assert code_digest(loaded.net)
    (tmp_path / "own_net.py").write_bytes(("# -*- coding: latin-1 -*-\nNAME = 'é'\n" + NET).encode("latin-1"))
    importlib.reload(loaded)
    assert code_digest(loaded.net)
    (tmp_path / "own_net.py").write_bytes(b"\xef\xbb\xbf" + NET.encode())
    importlib.reload(loaded)
    assert code_digest(loaded.net)


def test_a_script_that_is_edited_while_it_runs_is_refused(tmp_path):
    script = """
import pathlib
from labkit.runs.own_code import code_digest

def control():
    return 1

code_digest(control)
path = pathlib.Path(__file__)
path.write_text(path.read_text().replace("return 1", "return 2"))
try:
    code_digest(control)
except ValueError as error:
    print(error)
"""
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "was edited after it was imported" in done.stdout, done.stderr
