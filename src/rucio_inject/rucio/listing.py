"""What lies in the folder of an RSE, and for which DID each place is."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import ReplicaMissing, StorageRefused
from rucio_inject.domain.names.placement import GENERIC_NAME, NAME_LENGTH
from rucio_inject.ports import StoredFile
from rucio_inject.rucio.drivers.driver import Entry
from rucio_inject.rucio.errors import storage_errors
from rucio_inject.rucio.pfn import server_and_path

# The official client's suffix, at the end, so that a site's cleaning rules know it.
PARTIAL = ".rucio.upload"
# What is between a file's name and that suffix tells our partial files from the client's.
_OUR_PARTIAL = re.compile(r"(.+)\.[0-9a-f]{12}" + re.escape(PARTIAL))
# Where a DID named x lies below the place of its scope.
_PLACES = re.compile(r"(.+?)(/[0-9a-f]{2}/[0-9a-f]{2})?/x")


def partial_name(pfn: str) -> str:
    """Where an upload writes before it gives the file its name: another place for each try, since
    somebody may be storing the same DID."""
    return f"{pfn}.{uuid4().hex[:12]}{PARTIAL}"


def walk(folder: str) -> Iterator[tuple[str, int]]:
    """Paths and sizes of the files below a folder; what goes away meanwhile does not count.

    OSError if a part of it cannot be looked into: a count without it would be wrong.
    """
    for path, found in _walk(folder):
        yield path, found.st_size


def _walk(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Folders are asked what is in them by their own names for it: `os.walk` takes half as long
    again, and an RSE may have a million files. Links to folders are not followed."""
    folders = [folder]
    while folders:
        with suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not (entry.is_symlink() and Path(entry.path).is_dir()):
                    with suppress(FileNotFoundError):
                        yield entry.path, entry.stat(follow_symlinks=False)


def scope_place(protocol: Any, scope: str) -> tuple[str, int] | None:
    """The PFN of a scope's folder, and how many folders are between it and a DID's name; None if
    the scope has none of its own."""
    place = _PLACES.fullmatch(_pfn(protocol, DID(scope, "x")))
    return None if place is None else (place[1], 2 if place[2] else 0)


def posix_entries(folder_pfn: str) -> Iterator[Entry]:
    """The files below a folder of this machine."""
    folder = server_and_path(folder_pfn)[1]
    for path, found in _walk(folder):
        modified = datetime.fromtimestamp(found.st_mtime, UTC)
        yield Entry(folder_pfn + path.removeprefix(folder), found.st_size, modified)


def listed(
    doing: str,
    protocol: Any,
    scope: str,
    place: tuple[str, int],
    entries: Iterable[Entry],
    names: re.Pattern[str] = GENERIC_NAME,
) -> Iterator[StoredFile]:
    """Files below the place of a scope: its PFN, and how many folders are between it and a DID's
    name. `names` are those that the site's schema takes for DIDs."""
    folder_pfn, levels = place
    with storage_errors(doing):
        for entry in entries:
            pfn = entry.url
            name = pfn.removeprefix(folder_pfn)[1:].split("/", levels)[-1]
            ours = _OUR_PARTIAL.fullmatch(name)
            did = _did(scope, ours[1] if ours else name, names)
            if did is not None and _pfn(protocol, did) + name.removeprefix(did.name) != pfn:
                did = None
            yield StoredFile(
                pfn,
                entry.size,
                did=did,
                partial=ours is not None and did is not None,
                modified=entry.modified,
            )


def parts_below(folder: str) -> list[str]:
    """The parts of a path below an RSE's prefix. StorageRefused if it would lead out of it."""
    parts = [part for part in folder.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise StorageRefused(f"{folder} leads out of the RSE's prefix")
    return parts


def pfn_below(protocol: Any, folder: str) -> str:
    """The PFN of a folder below the RSE's prefix. StorageRefused if it would lead out of it."""
    parts = parts_below(folder)
    # As Rucio's posix protocol writes them; a client's would ask for the place of a DID instead.
    known = protocol.attributes
    host = f"{known['scheme']}://{known['hostname']}"
    return "/".join([host, *known["prefix"].strip("/").split("/"), *parts])


def listed_below(doing: str, folder_pfn: str) -> Iterator[StoredFile]:
    """Files below a folder of a posix storage, whoever put them there; links are none."""
    folder = server_and_path(folder_pfn)[1]
    if not Path(folder).is_dir():
        raise ReplicaMissing(f"{doing}: there is no folder {folder}")
    return _listed_below(doing, folder_pfn, folder)


def listed_entries(doing: str, entries: Iterable[Entry]) -> Iterator[StoredFile]:
    """Files of a storage, whoever put them there."""
    with storage_errors(doing):
        for entry in entries:
            if not entry.url.endswith(PARTIAL):
                yield StoredFile(entry.url, entry.size, modified=entry.modified)


def _listed_below(doing: str, folder_pfn: str, folder: str) -> Iterator[StoredFile]:
    with storage_errors(doing):
        for path, found in _walk(folder):
            if stat.S_ISREG(found.st_mode) and not path.endswith(PARTIAL):
                modified = datetime.fromtimestamp(found.st_mtime, UTC)
                pfn = folder_pfn + path.removeprefix(folder)
                yield StoredFile(pfn, found.st_size, modified=modified)


def _did(scope: str, name: str, names: re.Pattern[str]) -> DID | None:
    """The DID of a name, if the site's schema takes it: whoever asks Rucio about another one gets
    no answer for those that are asked for with it either."""
    fits = len(name) <= NAME_LENGTH and names.fullmatch(name)
    return DID(scope, name) if fits else None


def _pfn(protocol: Any, did: DID) -> str:
    (pfn,) = protocol.lfns2pfns({"scope": did.scope, "name": did.name}).values()
    return str(pfn)
