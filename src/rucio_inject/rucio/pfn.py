"""The parts of a PFN."""

from __future__ import annotations


def server_and_path(pfn: str) -> tuple[str, str]:
    """The server of a PFN, and the path there to its very end: a name may hold what would begin a
    query or a fragment, and the rest alone is the name of another file."""
    _, _, rest = pfn.partition(":")
    if not rest.startswith("//"):
        return "", rest
    server, _, path = rest.removeprefix("//").partition("/")
    return server, f"/{path}"
