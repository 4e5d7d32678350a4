"""What the rooms of science share: the optional extra asked for politely, and whole files only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a new file beside `path`, which becomes `path` when the block ends well.

    Nobody ever sees a half-written file under the final name: if the block raises, the new file is
    removed and whatever was at `path` stays. Missing folders are made. OSError from the file system
    goes through.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".rucio-inject-{uuid4().hex}.part")
    try:
        yield part
        part.replace(path)
    except BaseException:  # also an interrupt: what is half written goes, and the error goes on
        part.unlink(missing_ok=True)
        raise
