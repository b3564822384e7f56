"""Digests of users' code, so that a changed model or control is another run."""

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

# modules, and their programs when first looked at; a module that is reloaded gets a new spec
_SEEN: WeakKeyDictionary[ModuleType, tuple[ModuleSpec, str]] = WeakKeyDictionary()


def code_digest(function: Callable[..., Any]) -> str:
    """A digest of the module that a user's function or class stands in: of its syntax, not of comments or layout.

    Modules that it imports do not count.

    Raises:
        ValueError: for code without a name of its own or a source file (a lambda, a closure, a notebook cell), or one
            whose file was edited after it was imported: what would run is not what the file says.
    """
    name, module = getattr(function, "__qualname__", "<none>"), inspect.getmodule(function)
    try:
        if "<" in name or module is None or module.__file__ is None:
            raise OSError
        with open(module.__file__, encoding="utf-8") as file:
            source = file.read()
    except (OSError, AttributeError) as error:
        raise ValueError(
            f"{name} must be a named function of a module file, so that its runs can be told from those of other code"
        ) from error
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
    """What of a module differs from what its source says: it, since it was first looked at; a function; or None.

    Nothing is known of modules that were not loaded as they are written (by tools that rewrite them on import).
    """
    spec = module.__spec__
    if spec is None or type(spec.loader) is not SourceFileLoader:
        return None
    seen = _SEEN.get(module)
    if seen is not None and seen[0] is spec and seen[1] != normal:
        return module.__name__
    _SEEN[module] = spec, normal
    written: dict[str, list[CodeType]] = {}
    for code in _inside(compile(source, str(module.__file__), "exec", dont_inherit=True)):
        written.setdefault(code.co_qualname, []).append(code)  # several, where an `if` chooses which is defined
    for function in _functions(vars(module), module.__name__):
        alike = any(_alike(code, function.__code__) for code in written.get(function.__qualname__, []))
        if function.__code__.co_filename == module.__file__ and not alike:
            return function.__qualname__
    return None


def _functions(names: dict[str, Any], module: str) -> Iterator[FunctionType]:
    """Those that a module, or a class of it, defines; a decorated one counts as what it decorates."""
    for value in list(names.values()):
        if getattr(value, "__module__", None) != module:
            continue
        if isinstance(value, type):
            yield from _functions(dict(vars(value)), module)
        elif isinstance(value := inspect.unwrap(value) if callable(value) else value, FunctionType):
            yield value


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
