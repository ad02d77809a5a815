"""Things found by name: ours, those of other installed packages, and those in a file.

A room that others may add to (rules, methods, judges, suites, measures, pictures, exports) has one
:class:`Registry`. Ours are the modules of the room, each of which registers itself; another
package's are entry points of the group ``declutch.KINDs``; ``path/to/file.py:NAME`` is an object in
a file of the user's.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from traceback import walk_tb
from types import ModuleType, TracebackType
from typing import Any, Generic, TypeVar

from declutch.errors import DeclutchError, SettingsError
from declutch.files import expanded, is_file

T = TypeVar("T")
U = TypeVar("U")

# Modules of others that were loaded here, with what brought them: a file, a package.
_others_code: dict[str, str] = {}


class Registry(Generic[T]):
    """Objects of one kind by name.

    Args:
        kind: what one is called, in messages and in the group of entry points: ``rule`` is found
            under ``declutch.rules``.
        package: the package whose modules hold ours. They are imported when a name is first
            looked up, so none of them may import anything heavy.
        flag: the option by which a user names one.
    """

    def __init__(self, kind: str, package: str, flag: str) -> None:
        self.kind = kind
        self.flag = flag
        self._package = package
        self._own: dict[str, T] = {}
        self._scanned = False

    @property
    def group(self) -> str:
        """The group of entry points."""
        return f"declutch.{self.kind}s"

    def register(self, name: str) -> Callable[[U], U]:
        """Make an object known under a name; used as a decorator, which leaves it as it is."""

        def keep(thing: U) -> U:
            self._own[name] = thing  # type: ignore[assignment]
            return thing

        return keep

    def names(self) -> tuple[str, ...]:
        """All names, ours first, each in alphabetical order."""
        return (*sorted(self._ours()), *sorted(self._others()))

    def __contains__(self, name: str) -> bool:
        return name in self._ours() or name in self._others()

    def get(self, name: str) -> T:
        """The object of that name, or ``path/to/file.py:NAME``.

        Raises:
            SettingsError: there is none, two packages bring one, or it can't be imported.
        """
        if is_in_file(name):
            return self._from_file(name)
        if name in (ours := self._ours()):
            return ours[name]
        if name in (others := self._others()):
            return self._load(others[name])
        raise SettingsError(
            f"{self.flag} «{name}» is unknown; give one of {', '.join(self.names())}, or "
            f"FILE.py:NAME for one of your own."
        )

    def call(
        self, name: str, thing: Callable[..., Any], wanted: Any, *given: Any, **more: Any
    ) -> Any:
        """What an object of that name gives when called, which must be a ``wanted``.

        What fails here may fail in the call itself (a parameter that it lacks), where no line of
        its own shows whose fault it is; what is of another type would fail far from here.

        Raises:
            SettingsError: another's fails, or gives something else; ours fails as it is.
        """
        try:
            made = thing(*given, **more)
        except DeclutchError:
            raise
        except (Exception, SystemExit) as error:
            if (thing.__module__ or "").startswith("declutch."):
                raise
            raise SettingsError(f"{self.flag} {name} {failed(error)}") from error
        if not isinstance(made, wanted):
            raise SettingsError(
                f"{self.flag} {name} gives {made!r:.100}, where a {wanted.__name__} is needed "
                "(docs/extend.md)."
            )
        return made

    def _ours(self) -> dict[str, T]:
        if not self._scanned:
            self._scanned = True
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self._package}.{module.name}")
        return self._own

    def _others(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group):
            taken = found.get(point.name)
            if point.name in self._own or (taken and taken.value != point.value):
                raise SettingsError(
                    f"The package {_brought_by(point)} brings a {self.kind} «{point.name}», and "
                    f"{_brought_by(taken) if taken else 'declutch'} has one of that name. "
                    "Uninstall one, or ask its authors for another name."
                )
            found[point.name] = point
        return found

    def _load(self, point: EntryPoint) -> T:
        try:
            loaded: T = point.load()
        except (Exception, SystemExit) as error:
            raise SettingsError(
                f"The {self.kind} «{point.name}» of the package {_brought_by(point)} can't be "
                f"imported ({point.value}): {type(error).__name__}: {error}."
            ) from error
        _others_code[point.module.partition(".")[0]] = f"the package {_brought_by(point)}"
        return loaded

    def _from_file(self, reference: str) -> T:
        path, _, name = reference.rpartition(":")
        module = _module_of(expanded(path), self.flag)
        try:
            found: Any = getattr(module, name)
        except AttributeError as error:
            raise SettingsError(f"{self.flag} {reference}: {path} defines no «{name}».") from error
        if not callable(found):
            raise SettingsError(
                f"{self.flag} {reference}: {name} is {found!r:.100}, and a function or class is "
                "needed (docs/extend.md)."
            )
        return found  # type: ignore[no-any-return]


def failed(error: BaseException) -> str:
    """How code of another's failed, and where."""
    line = _last_line_of_others(error.__traceback__)
    where = f" in {line[1]}" if line else ""
    return f"failed{where}: {type(error).__name__}: {str(error)[:300]}. Correct it there."


def fault_of_others(error: BaseException) -> str | None:
    """Whose fault an error is that was raised in code which a registry loaded; None for ours.

    A method or a measure is called in many places. Its author is told of its own line, and nobody
    is told that it is a fault of declutch.
    """
    line = _last_line_of_others(error.__traceback__)
    return f"{line[0]} {failed(error)}" if line else None


def _last_line_of_others(at: TracebackType | None) -> tuple[str, str] | None:
    found = None
    for frame, line in walk_tb(at):
        module = str(frame.f_globals.get("__name__"))
        brought_by = _others_code.get(module) or _others_code.get(module.partition(".")[0])
        if brought_by:
            code = frame.f_code
            found = brought_by, f"{code.co_filename}, line {line}, {code.co_name}"
    return found


def split_name(reference: str) -> tuple[str, str | None]:
    """A name, and what stands after its colon; None where there is no colon.

    ``file.py:NAME`` is a name too, with a colon of its own.
    """
    found = re.fullmatch(r"(?P<name>.+?\.py:\w+|[^:]*)(?::(?P<rest>.*))?", reference, re.DOTALL)
    assert found, "every text has a part before its first colon"
    return found["name"], found["rest"]


def is_in_file(reference: str) -> bool:
    """Whether a name is of the form ``path/to/file.py:NAME``."""
    path, colon, name = reference.rpartition(":")
    return bool(colon) and path.endswith(".py") and name.isidentifier()


def _module_of(path: Path, flag: str) -> ModuleType:
    """Run a file of the user's once, as a module of its own."""
    if not is_file(path):
        raise SettingsError(f"{flag} {path}: there is no such file.")
    path = path.resolve()
    name = f"declutch_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec, "a .py file always has a spec"
    assert spec.loader, "and a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _others_code[name] = f"the code of {flag}"
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise SettingsError(
            f"{flag} {path}: the file can't be run: {type(error).__name__}: {error}."
        ) from error
    return module


def _brought_by(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
