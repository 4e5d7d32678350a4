"""The optional extra, asked for politely."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rucio_inject.domain.errors import UsageError

INSTALL_HINT = "install the optional packages: pip install 'rucio-inject[science]'"


@contextmanager
def science_extra(purpose: str) -> Iterator[None]:
    """Import inside this block what the extra [science] brings.

    UsageError naming the `purpose` and the package that is missing. Only imports belong inside.
    """
    try:
        yield
    except ImportError as error:
        missing = error.name or str(error)
        message = f"cannot {purpose}: the Python package {missing!r} is not installed"
        raise UsageError(message, hint=INSTALL_HINT) from error
