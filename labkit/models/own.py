"""Networks of a user's own, named `"package.module:function"`: imported, and where that fails, what is near."""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import nn

from labkit.ground.names import nearest


def imported(name: str) -> Callable[..., nn.Module]:
    """What `"package.module:function"` names; importing runs the module, so the standard library's are refused first.

    Not a fence against strangers' code, which any module can hold, but against names that no network can have.

    Raises:
        ValueError: if there is no such module or name in it, with what is near; or if it cannot be a network.
    """
    module, _, attribute = name.partition(":")
    if not _outside_python(module):
        raise ValueError(f"model {name!r} cannot be a network: {module} is part of Python's standard library")
    try:
        holder = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"model {name!r} cannot be imported: {error}{_where(module, error)}") from error
    found = getattr(holder, attribute, None)
    if found is None:
        raise ValueError(f"model {name!r} cannot be imported: {_instead(holder, attribute)}")
    if not _can_build(found):
        raise ValueError(
            f"model {name!r} cannot be a network: it must be a subclass of nn.Module, or a function that returns a "
            "network, written in Python and outside its standard library"
        )
    return found


def _where(module: str, error: ImportError) -> str:
    """Where a module that was not found should lie; nothing if it is another that it imports."""
    top = module.split(".")[0]
    if module.endswith(".py"):
        return f"; name the module, not its file: {module[:-3]!r}"
    if error.name != top:
        return ""
    near = nearest(top, (entry.name for entry in pkgutil.iter_modules()), alike=0.7)
    meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
    return f"{meant} {top}.py must lie where Python was started, or in another folder of sys.path"


def _instead(module: ModuleType, attribute: str) -> str:
    """That a module has no such name, and which of its own could be networks."""
    own = [name for name, value in vars(module).items() if _can_build(value) and value.__module__ == module.__name__]
    near = nearest(attribute, own)
    meant = f": did you mean {' or '.join(map(repr, near))}?" if near else ""
    known = f" It has {', '.join(sorted(own))}" if own else ""
    return f"{module.__name__} has no {attribute!r}{meant}{known}"


def _can_build(value: Any) -> bool:
    network = inspect.isclass(value) and issubclass(value, nn.Module)
    return network or (inspect.isfunction(value) and _outside_python(value.__module__))


def _outside_python(module: str) -> bool:
    return module.split(".")[0] not in sys.stdlib_module_names
