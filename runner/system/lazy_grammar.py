"""Postpones the grammar that jsonschema compiles at import, in every process of ours.

With JupyterLab's extras that takes 1.3 s of a processor for a check that notebooks never ask for.
The check itself stays: the grammar comes with its first use.
"""

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

NAME = "rfc3987_syntax"


class _Later(ModuleType):
    """Takes the module's place until something of it is used."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        self.__spec__ = spec
        self.__file__ = spec.origin
        self.__path__ = list(spec.submodule_search_locations or [])

    def is_valid_syntax(self, *arguments: Any) -> Any:
        """Provide the one function that jsonschema takes."""
        return self.__getattr__("is_valid_syntax")(*arguments)

    def __getattr__(self, name: str) -> Any:
        forget()
        return getattr(importlib.import_module(NAME), name)


def put_off() -> None:
    """Stand in for the module, if it is installed and not imported yet."""
    spec = importlib.util.find_spec(NAME) if NAME not in sys.modules else None
    if spec is not None:
        sys.modules[NAME] = _Later(spec)


def forget() -> None:
    """Let later imports get the real module."""
    if isinstance(sys.modules.get(NAME), _Later):
        del sys.modules[NAME]
