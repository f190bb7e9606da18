"""Libraries of the extras, which are imported where they are used."""

import importlib
from typing import Any


def optional(library: str, extra: str) -> Any:
    """A library of an extra; an `ImportError` says how to install it."""
    try:
        return importlib.import_module(library)
    except ImportError as error:
        advice = f"Install it: pip install 'semart-hf[{extra}]'."
        raise ImportError(f"Got no {error.name or library} in this environment. {advice}") from error
