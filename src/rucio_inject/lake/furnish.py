"""Putting a lake's content into it, by Rucio's own client: `python -m rucio_inject.lake.furnish`.

Runs in a process of its own with root's rucio.cfg. Applying a content twice changes nothing: what
is missing is added, settings that differ are set, nothing is taken away.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rucio_inject.lake import xrootd
from rucio_inject.lake.content import Content, Rse, parse, read_text
from rucio_inject.lake.credentials import secret_of
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.pki import distinguished_name
from rucio_inject.lake.state import LakeState, load_state

if TYPE_CHECKING:
    from rucio.client.client import Client

_SWITCHES = ("availability_read", "availability_write", "availability_delete")


@dataclass(frozen=True, slots=True)
class _Ways:
    """How the RSEs of a lake are reached: in its folders, or over servers with these ports."""

    paths: LakePaths
    state: LakeState

    def protocols(self, name: str, rse: Rse) -> list[dict[str, object]]:
        """The protocols of an RSE, in the order in which they are tried."""
        if self.state.storage == "posix":
            return [_posix(self.paths.storage / name)]
        root_port, http_port = self.state.storage_ports[str(rse.attributes.get("site", name))]
        return [
            _gfal("root", root_port, f"//{name}/", third_party=False),
            _gfal("davs", http_port, f"/{name}/", third_party=True),
        ]


def furnish(
    client: Client, content: Content, paths: LakePaths, state: LakeState, transfer_url: str
) -> None:
    """Make the lake hold what `content` says. RSEs transfer by the service at `transfer_url`."""
    ways = _Ways(paths, state)
    _accounts(client, content, ways)
    owned = {entry["scope"] for entry in client.list_scope_owners()}
    for scope, owner in content.scopes.items():
        if scope not in owned:
            client.add_scope(owner, scope)
    known = {entry["rse"] for entry in client.list_rses()}
    for name, rse in content.rses.items():
        if name not in known:
            client.add_rse(name, deterministic=rse.deterministic)
        _rse(client, name, rse, ways.protocols(name, rse), transfer_url)
    for (source, destination), distance in content.links().items():
        _distance(client, source, destination, distance)
    for account, limits in content.limits.items():
        for rse_name, value in limits.items():
            limit = -1 if value == "unlimited" else value
            client.set_local_account_limit(account, rse_name, limit)


def _accounts(client: Client, content: Content, ways: _Ways) -> None:
    paths = ways.paths
    known = {entry["account"] for entry in client.list_accounts()}
    for name, account in content.accounts.items():
        if name not in known:
            client.add_account(name, account.type, account.email)
        identities = {entry["identity"] for entry in client.list_identities(name)}
        subject = distinguished_name(name)
        if ways.state.has_authority and subject not in identities:
            client.add_identity(name, subject, "X509", account.email, default=True)
        if name not in identities:
            client.add_identity(
                name, name, "USERPASS", account.email, default=True, password=secret_of(paths, name)
            )
        # The answer is one list of key-value pairs inside an iterator.
        pairs = [pair for pairs in client.list_account_attributes(name) for pair in pairs]
        held = {pair["key"]: _text(pair["value"]) for pair in pairs}
        for key, value in account.attributes.items():
            if key in held and held[key] != _text(value):
                client.delete_account_attribute(name, key)
            if held.get(key) != _text(value):
                client.add_account_attribute(name, key, _text(value))


def _text(value: object) -> str:
    """An account's attribute as Rucio takes it: text only, and `true` for True."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rse(
    client: Client,
    name: str,
    rse: Rse,
    protocols: Sequence[Mapping[str, object]],
    transfer_url: str,
) -> None:
    settings = client.get_rse(name)
    wanted = {switch: getattr(rse, switch) for switch in _SWITCHES}
    if any(settings[switch] != value for switch, value in wanted.items()):
        client.update_rse(name, wanted)
    _protocols(client, name, settings["protocols"], protocols)
    attributes = {**rse.attributes, "fts": transfer_url}
    if rse.capacity is not None:
        # What is used is then what Rucio itself counts, not what a site reports.
        attributes["source_for_used_space"] = "rucio"
        client.set_rse_usage(name, "storage", used=0, free=rse.capacity)
    if rse.min_free_space is not None:
        client.set_rse_limits(name, "MinFreeSpace", rse.min_free_space)
    held = client.list_rse_attributes(name)
    for key, value in attributes.items():
        if held.get(key) != value:
            client.add_rse_attribute(name, key, value)


def _protocols(
    client: Client,
    name: str,
    held: Sequence[Mapping[str, object]],
    wanted: Sequence[Mapping[str, object]],
) -> None:
    """Give an RSE its protocols. One whose port was another at the last start goes."""
    known = {(one["scheme"], one["hostname"]): one["port"] for one in held}
    for protocol in wanted:
        scheme, hostname, port = protocol["scheme"], protocol["hostname"], protocol["port"]
        earlier = known.get((scheme, hostname))
        if earlier not in {None, port}:
            client.delete_protocols(name, scheme, hostname, earlier)
        if earlier != port:
            client.add_protocol(name, dict(protocol))


def _gfal(scheme: str, port: int, prefix: str, *, third_party: bool) -> dict[str, object]:
    priority = 2 if third_party else 1
    every = {"read": priority, "write": priority, "delete": 1 if third_party else 2}
    copies = int(third_party)
    third = {"third_party_copy_read": copies, "third_party_copy_write": copies}
    return {
        "scheme": scheme,
        "hostname": xrootd.HOST,
        "port": port,
        "prefix": prefix,
        "impl": "rucio.rse.protocols.gfal.Default",
        "domains": {"lan": every, "wan": {**every, **(third if third_party else {})}},
        "extended_attributes": None,
    }


def _posix(folder: Path) -> dict[str, object]:
    every = {"read": 1, "write": 1, "delete": 1}
    third_party = {"third_party_copy_read": 1, "third_party_copy_write": 1}
    return {
        "scheme": "file",
        "hostname": "localhost",
        "port": 0,
        "prefix": str(folder),
        "impl": "rucio.rse.protocols.posix.Default",
        "domains": {"lan": every, "wan": {**every, **third_party}},
        "extended_attributes": None,
    }


def _distance(client: Client, source: str, destination: str, distance: int) -> None:
    held = client.get_distance(source, destination)
    if not held:
        client.add_distance(source, destination, {"distance": distance})
    elif held[0]["distance"] != distance:
        client.update_distance(source, destination, {"distance": distance})


def main() -> None:
    """Read the lake's own content file and apply it."""
    from rucio.client.client import Client  # noqa: PLC0415  reads rucio.cfg when imported

    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("transfer_url")
    arguments = parser.parse_args()
    paths = LakePaths(arguments.folder)
    content = parse(read_text(paths.content), str(paths.content))
    furnish(Client(), content, paths, load_state(paths.state), arguments.transfer_url)


if __name__ == "__main__":
    main()
