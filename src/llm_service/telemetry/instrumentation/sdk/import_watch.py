"""Telling when a module is imported, without importing it."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

__all__ = ["when_imported"]

_waiting: Final[dict[str, Callable[[ModuleType], None]]] = {}


def when_imported(name: str, tell: Callable[[ModuleType], None]) -> None:
    """Call `tell` with a module: now where it is imported already, else right after its import."""
    module = sys.modules.get(name)
    if module is not None:
        tell(module)
        return
    _waiting[name] = tell
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


class _Finder(MetaPathFinder):
    """Finds nothing itself: it has the others find a module that is waited for, and gives that another loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec, as the next finder that knows it has it."""
        if fullname not in _waiting:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Telling(spec.loader)
                return spec
        return None


class _Telling(Loader):
    """Loads as another does, and tells of it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the other does."""
        create = getattr(self._loader, "create_module", None)
        return None if create is None else create(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the other does; the module is then as if it alone had loaded it."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        tell = _waiting.pop(module.__name__, None)
        if not _waiting and _FINDER in sys.meta_path:
            sys.meta_path.remove(_FINDER)
        if tell is not None:
            tell(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


_FINDER: Final = _Finder()
