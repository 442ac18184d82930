"""Read a PyTorch pickle without running its code: what is no tensor becomes an inert stub.

`torch.load` takes this module as its `pickle_module`.
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
    """The pickle names something that a weights file has no use for, such as os.system."""


class Stub:
    """Stands for an object of any class: takes what a pickle does to it, and does nothing.

    `origin` is the name of the class or function that it stands for.
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
        """Drop an item of a list."""

    def extend(self, _: Any) -> None:
        """Drop items of a list."""

    def add(self, _: Any) -> None:
        """Drop an item of a set."""


class _Function:
    """A function that a pickle may call but not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


class Unpickler(pickle.Unpickler):
    """Builds tensors and plain containers; everything else is a Stub."""

    def find_class(self, module: str, name: str) -> Any:
        """The few functions that tensors need, else a Stub.

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
    """As `pickle.load`; torch reads the parts of its older files with it."""
    return Unpickler(file, **options).load()
