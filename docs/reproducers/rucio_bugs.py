"""Rucio's own bugs, each shown on a lake: what is asked, and what comes back.

    rucio-inject lake start --folder /tmp/bugs
    eval "$(rucio-inject lake env --folder /tmp/bugs)"
    python docs/reproducers/rucio_bugs.py [NAME ...]

Only Rucio's public client and its protocol classes are used. Each function makes files of its own
in a new scope and says `still so` or `mended`; docs/rucio-bugs.md tells what each means for us.
Ends with 1 if one of them is mended.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

os.environ.setdefault("RUCIO_CLIENT_MODE", "1")

from rucio.client.client import Client
from rucio.client.uploadclient import UploadClient
from rucio.common.exception import NoFilesUploaded, RucioException
from rucio.rse import rsemanager

RSE, OTHER = "PIC-INJECT", "PIC-DCACHE"
ACCOUNT = os.environ.get("RUCIO_ACCOUNT", "magic")
BUGS: dict[str, Callable[[Client, str], tuple[bool, str]]] = {}


def bug(function: Callable[[Client, str], tuple[bool, str]]) -> Callable[..., tuple[bool, str]]:
    """One of them: given a client and a new scope, whether it is still so, and what was seen."""
    BUGS[function.__name__.replace("_", "-")] = function
    return function


def new_files(scope: str, number: int) -> list[dict[str, Any]]:
    """Files as `add_replicas` takes them, which nobody has."""
    return [
        {"scope": scope, "name": uuid.uuid4().hex, "bytes": 10, "adler32": f"{n:08x}"}
        for n in range(number)
    ]


def named(file: dict[str, Any]) -> dict[str, str]:
    """Its DID."""
    return {"scope": file["scope"], "name": file["name"]}


def error_of(call: Callable[[], object]) -> str:
    """The kind and the words of the error that a call ends with; empty if it does not."""
    try:
        call()
    except RucioException as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
    return ""


def protocol(client: Client, prefix: str) -> Any:
    """Rucio's own posix protocol for an RSE, with its files in another folder."""
    settings = rsemanager.get_rse_info(RSE, vo=client.vo)
    chosen = {**settings["protocols"][0], "prefix": prefix}
    settings = {**settings, "protocols": [chosen]}
    return rsemanager.create_protocol(settings, "write", scheme=chosen["scheme"])


@bug
def rules_in_add_dids(client: Client, scope: str) -> tuple[bool, str]:
    """A dataset that is made with its rules, as the call's documentation has it."""
    rule = {"account": ACCOUNT, "copies": 1, "rse_expression": RSE}
    row = {"scope": scope, "name": "with-rules", "type": "DATASET", "rules": [rule]}
    said = error_of(lambda: client.add_dids([row]))
    return bool(said), said or "made"


@bug
def another_checksum_for_a_known_file(client: Client, scope: str) -> tuple[bool, str]:
    """A replica that is declared with another size and checksum than its file has."""
    (file,) = new_files(scope, 1)
    client.add_replicas(RSE, [file])
    said = error_of(lambda: client.add_replicas(OTHER, [{**file, "bytes": 11, "adler32": "f" * 8}]))
    return not said, said or "accepted: the replica is AVAILABLE, and the file's own is kept beside"


@bug
def nothing_matches_is_invalid(client: Client, scope: str) -> tuple[bool, str]:
    """A good RSE expression that stands for no RSE now."""
    said = error_of(lambda: list(client.list_rses("nobody-has-this=1")))
    return said.startswith("InvalidRSEExpression"), said or "an empty list"


@bug
def the_end_of_a_parent_is_lost(client: Client, scope: str) -> tuple[bool, str]:
    """A rule with an end, whose child is deleted before it is OK (rucio issue 60)."""
    (file,) = new_files(scope, 1)
    client.add_replicas(RSE, [file])
    parent, child = (
        client.add_replication_rule([named(file)], 1, rse, purge_replicas=True)[0]
        for rse in (RSE, OTHER)
    )
    client.update_replication_rule(parent, {"lifetime": 3600, "child_rule_id": child})
    client.delete_replication_rule(child)
    # Rucio gives a rule that is to be deleted an hour, unless one asks its cleaner to be quick.
    client.update_replication_rule(child, {"lifetime": -10})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if client.get_replication_rule(parent)["child_rule_id"] is None:
            break
        time.sleep(1)
    end = client.get_replication_rule(parent)["expires_at"]
    return end is None, f"expires_at of the parent: {end}"


@bug
def delete_says_nothing(client: Client, scope: str) -> tuple[bool, str]:
    """The posix protocol is asked to delete what it cannot."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a", "b").mkdir(parents=True)
        said = error_of(lambda: protocol(client, folder).delete(f"file://localhost{folder}/a"))
        there = Path(folder, "a").exists()
        return (
            there and not said,
            said or f"no error, and it is {'still' if there else 'not'} there",
        )


@bug
def exists_hides_why(client: Client, scope: str) -> tuple[bool, str]:
    """The posix protocol is asked for what it cannot look at: a link that leads to itself."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "loop").symlink_to("loop")
        found = protocol(client, folder).exists(f"file://localhost{folder}/loop/file")
        return found is False, f"exists() is {found}; the system says: too many symbolic links"


@bug
def put_makes_the_mount_point(client: Client, scope: str) -> tuple[bool, str]:
    """The posix protocol stores a file on a storage that is not mounted."""
    with tempfile.TemporaryDirectory() as folder:
        absent, source = Path(folder, "not", "mounted"), Path(folder, "file")
        source.write_bytes(b"events")
        target = f"file://localhost{absent}/file"
        said = error_of(lambda: protocol(client, str(absent)).put(str(source), target))
        return absent.is_dir(), said or f"made {absent.relative_to(folder)}, and stored it there"


@bug
def a_second_upload_is_a_failure(client: Client, scope: str) -> tuple[bool, str]:
    """UploadClient is given a file that lies, and is registered, where it is to be."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, uuid.uuid4().hex)
        path.write_bytes(b"events")
        item = {"path": str(path), "rse": RSE, "did_scope": scope}
        UploadClient(client).upload([item])
        try:
            UploadClient(client).upload([item])
        except NoFilesUploaded as error:
            return True, f"NoFilesUploaded: {' '.join(str(error).split())[:120]}"
        return False, "taken for done"


class _Page(BaseHTTPRequestHandler):
    """What a proxy with a page of its own answers."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>We are down for maintenance.</html>")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@bug
def any_page_is_an_answer(client: Client, scope: str) -> tuple[bool, str]:
    """A rule is changed while a proxy answers with a page of its own and 200."""
    with HTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        hosts, client.list_hosts = client.list_hosts, [f"http://127.0.0.1:{server.server_port}"]
        try:
            said = error_of(lambda: client.update_replication_rule("0" * 32, {"lifetime": 1}))
        finally:
            client.list_hosts = hosts
    return not said, said or "True: the client takes the rule for changed"


def main(wanted: list[str]) -> int:
    """Show the bugs named, or all; 1 if one is mended."""
    client, mended = Client(), 0
    for name in wanted or BUGS:
        scope = f"bug_{uuid.uuid4().hex[:8]}"
        client.add_scope(ACCOUNT, scope)
        so, seen = BUGS[name](client, scope)
        mended += not so
        print(f"{name}: {'still so' if so else 'mended'}\n    {seen}")
    return 1 if mended else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
