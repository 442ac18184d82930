"""Lazy subcommands: a start imports only the subcommand that it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, ClassVar

from typer import Typer
from typer.core import TyperGroup
from typer.main import get_command


class Subcommands(Mapping[str, Any]):
    """A mapping of command names to commands, imported on first access.

    A command is named like its module. It is a function, with EPILOG in the same module, or a
    group.
    """

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            module = import_module(f"inceptcli.cli.{self._modules[name]}")
            found = getattr(module, self._modules[name])
            if not isinstance(found, Typer):
                app = Typer(add_completion=False, rich_markup_mode=None)
                app.command(name, epilog=module.EPILOG)(found)
                found = app
            self._built[name] = get_command(found)
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


class LazyGroup(TyperGroup):
    """A command group whose subcommands are `modules` of this folder, listed in that order."""

    modules: ClassVar[Mapping[str, str]]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = Subcommands(self.modules)  # type: ignore[assignment]  # none is added

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names without importing the commands."""
        return list(self.modules)
