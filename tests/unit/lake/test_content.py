"""The content file of a lake."""

from __future__ import annotations

from pathlib import Path

import pytest

from rucio_inject.domain.errors import UsageError
from rucio_inject.lake.content import Content, default_text, digest, parse, read_text

SMALL = """
injecting_account: magic
accounts: {magic: {attributes: {admin: true}}}
scopes: {MAGIC: magic}
rses: {PIC-A: {}, PIC-B: {}, PIC-C: {}}
"""


def _changed(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new)


def test_the_packaged_content_is_what_the_seed_needs() -> None:
    content = parse(default_text(), "packaged")
    assert set(content.rses) == {"PIC-INJECT", "PIC-DCACHE", "INFN-NA-DPM", "LAPP-FAST"}
    assert [n for n, rse in content.rses.items() if rse.attributes["QOS"] == "FAST"] == [
        "LAPP-FAST"
    ]
    assert content.scopes == {"MAGIC_PIC_BRUZZESE": "magic"}
    assert content.injecting_account == "magic"
    assert content.limits["magic"] == dict.fromkeys(content.rses, "unlimited")


def test_links_are_a_full_mesh_with_exceptions() -> None:
    text = SMALL + "distance: 2\ndistances: [{source: PIC-A, destination: PIC-B, distance: 7}]\n"
    links = parse(text, "file").links()
    assert len(links) == 6
    assert links["PIC-A", "PIC-B"] == 7
    assert links["PIC-B", "PIC-A"] == 2


def test_what_the_lake_keeps_of_a_content_means_the_same() -> None:
    content = parse(default_text(), "packaged")
    assert parse(content.model_dump_json(), "kept") == content


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (_changed("PIC-A: {}", "PIC-A: {colour: red}"), r"rses\.PIC-A\.colour"),
        (_changed("PIC-A: {}", "PIC-A: {attributes: {fts: x}}"), r"rses\.PIC-A: the attribute fts"),
        (_changed("PIC-A: {}", "PIC-A: {capacity: -1}"), r"rses\.PIC-A\.capacity"),
        (_changed("PIC-A: {}", "pic a: {}"), r"rses\.pic a"),
        (_changed("MAGIC: magic", "MAGIC: lst"), r"scopes\.MAGIC: lst is not an account"),
        (_changed("account: magic", "account: lst"), r"injecting_account: lst is not an account"),
        (SMALL + "limits: {magic: {PIC-X: 1}}\n", r"limits\.magic\.PIC-X: PIC-X is not an RSE"),
        (SMALL + "limits: {magic: {PIC-A: lots}}\n", r"limits\.magic\.PIC-A"),
        (SMALL + "distance: 0\n", "distance: "),
        (
            SMALL + "distances: [{source: PIC-A, destination: PIC-X, distance: 1}]\n",
            r"distances\.0: PIC-X is not an RSE",
        ),
        (_changed("accounts: {", "accounts: {root: {}, "), "root is always there"),
        ("rses: [", "line 1: not valid YAML|line 2: not valid YAML"),
        ("", "does not describe a lake"),
        ("- a\n- b\n", "does not describe a lake"),
    ],
)
def test_a_wrong_content_names_the_key_and_the_reason(text: str, where: str) -> None:
    with pytest.raises(UsageError, match=where) as caught:
        parse(text, "file.yaml")
    assert "file.yaml" in caught.value.message


def test_the_fingerprint_follows_content_and_facts() -> None:
    content = parse(SMALL, "file")
    other = parse(_changed("PIC-C: {}", "PIC-D: {}"), "file")
    assert digest(content, "a") == digest(Content.model_validate(content.model_dump()), "a")
    assert len({digest(content, "a"), digest(content, "b"), digest(other, "a")}) == 3


def test_a_content_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml"):
        read_text(tmp_path / "none.yaml")
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xe9")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_text(tmp_path / "latin")
