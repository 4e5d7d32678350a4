"""Whose output folder it is: two campaigns in one would mix their figures and counts."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from rucio_inject.domain.errors import UsageError

OWNER = ".rucio-inject"
"""The file that names the campaign whose folder it is."""
_HINT = "name another one: --output, or output: in the campaign"


def refuse_folder_of_another(folder: Path, campaign: str) -> None:
    """UsageError if the folder is another campaign's. Nothing is changed.

    A folder that cannot be looked into is nobody's: whoever writes there is told why not.
    """
    owner = ""
    with suppress(OSError):
        owner = (folder / OWNER).read_text(encoding="utf-8", errors="replace").strip()
    if owner and owner != campaign:
        raise UsageError(
            f"the output folder {folder} is that of campaign {owner}: figure 1 and the counts "
            f"would be mixed with those of {campaign}",
            hint=_HINT,
        )


def own_folder(folder: Path, campaign: str) -> None:
    """Make the folder, and have it for a campaign. UsageError if that cannot be, or if it is
    another campaign's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make the output folder {folder}: {error.strerror}", hint=_HINT
        ) from error
    # It is there already, or the disk has no room: then the next run leaves it there.
    with suppress(OSError), (folder / OWNER).open("x", encoding="utf-8") as owner:
        owner.write(f"{campaign}\n")
    refuse_folder_of_another(folder, campaign)
