"""Lists of checksums that lie beside data, as `md5sum` and its like write them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from rucio_inject.domain.checksum import Announced

LISTS = ("MD5SUMS", "md5sums", "MD5SUM", "md5sum.txt")
"""What the list of a whole folder is called."""
SUFFIX = ".md5"
"""What the list of one file is called after it."""
# A list of a million files; more is none.
_MOST = 1 << 28
_LINE = re.compile(r"(?P<escaped>\\?)(?P<md5>[0-9A-Fa-f]{32})(?:[ \t]+\*?(?P<name>\S.*))?")
_BSD = re.compile(r"MD5 ?\((?P<name>.+)\) ?= ?(?P<md5>[0-9A-Fa-f]{32})")


class NoListError(ValueError):
    """A file that should be a list of checksums and is none; the text says why."""


def read_list(path: Path) -> dict[str | None, Announced]:
    """What a list says, by the names in it without their folders; None is the key of a checksum
    that stands alone. Empty while it is empty. OSError as the system raises it.

    A symbolic link is not followed: it might lead to anything.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(_MOST + 1)
    if len(content) > _MOST:
        raise NoListError("it is too long")
    try:
        return dict(_entries(content.decode("utf-8")))
    except UnicodeDecodeError as error:
        raise NoListError("it is no text in UTF-8") from error


def _entries(text: str) -> Iterator[tuple[str | None, Announced]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip()) or _BSD.fullmatch(line.strip())
        if found is None:
            raise NoListError(f"line {number} is no md5 with a name")
        name = found["name"]
        if found.groupdict().get("escaped") and name is not None:
            name = name.replace("\\n", "\n").replace("\\\\", "\\")
        yield name and name.rpartition("/")[2], Announced(md5=found["md5"])
