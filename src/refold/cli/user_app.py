"""Finding the user's app: importing their module, and saying clearly what is wrong with it."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from refold.app import App
from refold.errors import ConfigurationError, DefinitionError
from refold.folds.read_model import ReadModel

__all__ = ["find_app", "find_read_model"]


def find_app(named: str, folder: Path) -> App:
    """The app that `module:attribute` names; the module is looked for in `folder` first.

    Raises `ConfigurationError` when there is no such module or attribute, when importing fails, and when it is no app;
    `DefinitionError` when its classes cannot work.
    """
    found, module, module_name = _found(f"app {named!r}", named, folder, "bank.app:app")
    if not isinstance(found, App):
        raise ConfigurationError(f"{named} is not an App but {type(found).__name__}; {_apps_of(module, module_name)}")
    return found


def find_read_model(named: str, folder: Path) -> type[ReadModel]:
    """The read model that `module:class` names; otherwise as `find_app`."""
    found, _, _ = _found(f"class {named!r}", named, folder, "bank.before:Balance")
    if not isinstance(found, type) or not issubclass(found, ReadModel):
        raise ConfigurationError(f"{named} is no read model class")
    return found


def _found(what: str, named: str, folder: Path, example: str) -> tuple[object, ModuleType, str]:
    module_name, colon, attribute = named.partition(":")
    if not colon or not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        raise ConfigurationError(f"{what} is not of the form module:attribute, as in {example}")
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as problem:
        if problem.name is not None and (module_name == problem.name or module_name.startswith(f"{problem.name}.")):
            raise ConfigurationError(
                f"there is no module {problem.name!r} in {_shown(folder)} nor among the installed packages "
                f"({what}); run this in your project's folder"
            ) from problem
        raise ConfigurationError(_failed(module_name, problem, folder)) from problem
    except DefinitionError:
        raise
    except (Exception, SystemExit) as problem:  # the user's code may raise anything
        raise ConfigurationError(_failed(module_name, problem, folder)) from problem
    found: object = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"module {module_name!r} has no {attribute!r}; {_apps_of(module, module_name)}")
        found = getattr(found, part)
    return found, module, module_name


def _apps_of(module: object, module_name: str) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, App)]
    if not names:
        return 'it has no App at all: make one with app = App("…", aggregates=[…])'
    return f"its apps are {', '.join(f'{module_name}:{name}' for name in names)}"


def _failed(module_name: str, problem: BaseException, folder: Path) -> str:
    where = ""
    if isinstance(problem, SyntaxError) and problem.filename:
        where = f" ({_shown(Path(problem.filename), folder)}:{problem.lineno})"
        text = f"{type(problem).__name__}: {problem.msg}"
    else:
        text = f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
        frames = [frame for frame in traceback.extract_tb(problem.__traceback__) if "importlib" not in frame.filename]
        if frames and frames[-1].filename != __file__:
            where = f" ({_shown(Path(frames[-1].filename), folder)}:{frames[-1].lineno})"
    return f"importing {module_name!r} failed: {text}{where}"


def _shown(path: Path, folder: Path | None = None) -> str:
    try:
        return os.path.relpath(path, folder) if folder is not None and path.is_relative_to(folder) else str(path)
    except ValueError:
        return str(path)
