"""Digests of users' code, so that a changed model or control is another run."""

import ast
import hashlib
import inspect
import tokenize
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

# modules, and their programs when first looked at; a module that is reloaded gets a new spec
_SEEN: WeakKeyDictionary[ModuleType, tuple[ModuleSpec | None, str]] = WeakKeyDictionary()


def code_digest(function: Callable[..., Any]) -> str:
    """A digest of the module that a user's function or class stands in: of its syntax, not of comments or layout.

    Modules that it imports do not count, nor what is patched in while the program runs.

    Raises:
        ValueError: for code that no name of a module file stands for (a lambda, a closure, a method of an object, a
            notebook cell), or one whose file was edited after it was imported: what would run is not what it says.
    """
    name, module = getattr(function, "__qualname__", f"a {type(function).__qualname__}"), inspect.getmodule(function)
    source = _source(module)
    if source is None or module is None or _held(module, name) is not function:
        raise ValueError(
            f"{name} must be a function or a class that a module file holds by that name, so that its runs can be told "
            "from those of other code (not a lambda, a closure, or a method of an object); after a reload, take it "
            "anew from its module"
        )
    try:
        edited = _edited(module, source, normal := _normal(source))
    except SyntaxError:  # half-way through an edit
        edited = module.__name__
    if edited is not None:
        raise ValueError(
            f"{module.__file__} was edited after it was imported: {edited} is not what the file says now. Restart "
            "Python (in a notebook: the kernel), so that what runs is what is written"
        )
    return hashlib.sha256(f"{name}\n{normal}".encode()).hexdigest()[:16]


def _source(module: ModuleType | None) -> str | None:
    """The text of a module's file, in whatever encoding it declares; None without one."""
    try:
        with tokenize.open(str(getattr(module, "__file__", None))) as file:
            return file.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


def _held(module: ModuleType, name: str) -> Any:
    """What a module holds by a dotted name, or None."""
    found: Any = module
    for part in name.split("."):
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    return found


def _normal(source: str) -> str:
    """The program without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _edited(module: ModuleType, source: str, normal: str) -> str | None:
    """What of a module differs from what its source says: it, since it was first looked at; a name in it; or None.

    Nothing is known of modules that were not loaded as they are written (by tools that rewrite them on import).
    """
    loader, spec = getattr(module, "__loader__", None), module.__spec__
    if type(loader) is not SourceFileLoader:
        return None
    seen = _SEEN.get(module)
    if seen is not None and seen[0] is spec and seen[1] != normal:
        return module.__name__
    _SEEN[module] = spec, normal
    written: dict[str, list[CodeType]] = {}
    for code in _inside(compile(source, str(module.__file__), "exec", dont_inherit=True)):
        written.setdefault(code.co_qualname, []).append(code)  # several, where an `if` chooses which is defined
    for function in _functions(vars(module), module.__name__):
        own = Path(function.__code__.co_filename).name == Path(str(module.__file__)).name
        if own and not any(_alike(code, function.__code__) for code in written.get(function.__qualname__, [])):
            return function.__qualname__
    return _other_value(ast.parse(source).body, vars(module))


def _other_value(body: list[ast.stmt], names: Mapping[str, Any]) -> str | None:
    """A constant of a module, an attribute of a class or a default of a function that is not what is written, or None.

    Of what is written as a plain value, once.
    """
    assigned = [node for node in body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    targets = [node.targets[0].id for node in assigned if isinstance(node.targets[0], ast.Name)]
    for name, assignment in zip(targets, assigned, strict=True):
        if targets.count(name) == 1 and name in names and _differs(assignment.value, names[name]):
            return name
    for node in body:
        value = names.get(node.name) if isinstance(node, ast.ClassDef | ast.FunctionDef) else None
        if isinstance(node, ast.ClassDef) and isinstance(value, type):
            if inner := _other_value(node.body, vars(value)):
                return f"{node.name}.{inner}"
        elif isinstance(node, ast.FunctionDef) and isinstance(value, FunctionType) and value.__name__ == node.name:
            if len(value.__defaults__ or ()) != len(node.args.defaults):
                return node.name
            if any(map(_differs, node.args.defaults, value.__defaults__ or ())):
                return node.name
    return None


def _differs(written: ast.expr, value: Any) -> bool:
    try:
        found = ast.literal_eval(written)
    except (ValueError, TypeError, SyntaxError):
        return False  # worked out, not written
    plain = bool | int | float | str | bytes | tuple | None
    return isinstance(value, plain) and isinstance(found, plain) and (type(found), found) != (type(value), value)


def _functions(names: Mapping[str, Any], module: str, inside: tuple[type, ...] = ()) -> Iterator[FunctionType]:
    """Those that a module, or a class of it, defines; a decorated one counts as what it decorates."""
    for value in list(names.values()):
        if isinstance(value, type):
            if value.__module__ == module and value not in inside:
                yield from _functions(vars(value), module, (*inside, value))
            continue
        for part in (value.fget, value.fset) if isinstance(value, property) else (value,):
            function = inspect.unwrap(getattr(part, "__func__", part)) if part is not None else None
            if isinstance(function, FunctionType) and function.__module__ == module:
                yield function


def _inside(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _inside(constant)


def _alike(one: CodeType, other: CodeType) -> bool:
    """Whether two pieces of code do the same, wherever their lines stand."""
    if (one.co_code, one.co_names, one.co_varnames) != (other.co_code, other.co_names, other.co_varnames):
        return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    return all(
        _alike(a, b) if isinstance(a, CodeType) and isinstance(b, CodeType) else (type(a), a) == (type(b), b)
        for n, (a, b) in enumerate(zip(one.co_consts, other.co_consts, strict=True))
        if n or not all(text is None or isinstance(text, str) for text in (a, b))  # the first may be a docstring
    )
