"""Packages that can be called, as ``recbole_hm4sr.run(...)`` is.

The names that a user calls are also the best names of the folders behind them. Importing a
subpackage binds it as an attribute of its parent, where it would hide a function of its name; so
the subpackage itself is made callable.
"""

import importlib
import sys
from types import ModuleType
from typing import Any


class _CallableRoom(ModuleType):
    @property
    def __wrapped__(self) -> Any:
        """The function: ``inspect.signature`` and ``help`` look here."""
        module, name = self.__function__.split(":")
        return getattr(importlib.import_module(module), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)


def make_callable(room: str, function: str) -> None:
    """Let a package be called as a function of a module that is imported then.

    Args:
        room: Name of the package, which is being imported.
        function: ``module:name`` of the function.
    """
    module = sys.modules[room]
    module.__class__ = _CallableRoom
    module.__dict__["__function__"] = function
