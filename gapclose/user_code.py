"""Hashes the source of users' own classes, so that data and models made by other code are made anew.

Data and models are stored under a hash of their settings. If a class of the user makes them, its code belongs to that
hash; otherwise another world with equal settings would get the data of the first.
"""

import hashlib
import inspect
from collections.abc import Iterator
from typing import Any

from hydra.utils import get_object

KNOWN = {"gapclose", "torch", "lightning", "abc", "builtins", "typing", "collections", "functools"}
"""Packages that are left out: their classes are determined by the settings, or have no influence."""


def code_of(*objects: Any) -> dict[str, str]:
    """Returns the names and hashed sources of the user's classes that these objects and those in them are made of."""
    return {name: source for thing in objects for cls in classes_in(thing) for name, source in code_of_class(cls)}


def code_named_in(config: Any) -> dict[str, str]:
    """Returns the names and hashed sources of the user's classes that a configuration names as `_target_`."""
    if isinstance(config, list):
        return {name: source for part in config for name, source in code_named_in(part).items()}
    if not isinstance(config, dict):
        return {}
    found = code_named_in(list(config.values()))
    target = config.get("_target_")
    if isinstance(target, str) and target.partition(".")[0] not in KNOWN:
        made_by = get_object(target)
        found |= dict(code_of_class(made_by) if isinstance(made_by, type) else [(target, hash_of_source(made_by))])
    return found


def classes_in(thing: Any) -> Iterator[type]:
    """Yields the class of an object, and those of the objects of gapclose or the user in its attributes."""
    if isinstance(thing, list | tuple | dict):
        for part in thing.values() if isinstance(thing, dict) else thing:
            yield from classes_in(part)
    elif hasattr(thing, "settings"):
        yield type(thing)
        yield from classes_in(vars(thing))


def code_of_class(cls: type) -> Iterator[tuple[str, str]]:
    """Yields the name and a hash of the source of a class and of its bases, as far as they are the user's."""
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] not in KNOWN:
            yield f"{base.__module__}.{base.__qualname__}", hash_of_source(base)


def hash_of_source(thing: Any) -> str:
    """Returns a hash of the file that defines a class or function, as it may use what else is in that file."""
    try:
        source = inspect.getsource(inspect.getmodule(thing) or thing)
    except (OSError, TypeError):  # It was defined in an interactive session.
        source = ""
    return hashlib.blake2b(source.encode(), digest_size=6).hexdigest()
