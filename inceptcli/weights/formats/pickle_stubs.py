"""Unpickling of PyTorch files without running their code: objects become inert stubs.

Pass this module to `torch.load` as `pickle_module`.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

UNSAFE_MODULES = {
    "_pickle", "asyncio", "code", "codeop", "commands", "ctypes", "importlib", "marshal",
    "multiprocessing", "nt", "os", "pickle", "posix", "pty", "runpy", "shutil", "signal", "socket",
    "subprocess", "sys", "threading", "webbrowser",
}  # fmt: skip
UNSAFE_BUILTINS = {"__import__", "breakpoint", "compile", "eval", "exec", "exit", "input", "open"}
REBUILD = ("_rebuild_parameter", "_rebuild_tensor", "_rebuild_tensor_v2")


class UnsafePickleError(pickle.UnpicklingError):
    """The pickle refers to something that a weights file never needs, such as os.system."""


class Stub:
    """Placeholder for an object of any class; accepts all operations of a pickle and does nothing.

    `origin` is the name of the replaced class or function.
    """

    origin = ""

    def __new__(cls, *_: Any, **__: Any) -> Stub:  # noqa: D102
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        """Ignore an item of a list."""

    def extend(self, _: Any) -> None:
        """Ignore items of a list."""

    def add(self, _: Any) -> None:
        """Ignore an item of a set."""


class _Function:
    """Wrapper of a function that a pickle may call but not modify."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


class Unpickler(pickle.Unpickler):
    """Unpickler that builds tensors and plain containers; everything else becomes a Stub."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the function if tensors need it, else a Stub.

        Raises UnsafePickleError for functions that start programs or open files.
        """
        import torch

        unsafe = UNSAFE_BUILTINS if module in ("builtins", "__builtin__") else ()
        if module.partition(".")[0] in UNSAFE_MODULES or name in unsafe:
            raise UnsafePickleError(f"{module}.{name}")
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in REBUILD:
            return _Function(getattr(torch._utils, name))
        if module == "torch" and (
            name == "Size" or isinstance(getattr(torch, name, None), torch.dtype)
        ):
            return getattr(torch, name)
        return type("Stub", (Stub,), {"origin": f"{module}.{name}"})


def load(file: BinaryIO, **options: Any) -> Any:
    """Load a pickle, as `pickle.load`; torch uses it for older files."""
    return Unpickler(file, **options).load()
