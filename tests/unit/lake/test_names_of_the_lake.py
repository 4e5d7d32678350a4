"""Which DID names an embedded lake takes: its content file may add characters, as sites do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from rucio_inject.lake.content import Content, default_text, parse

ASK = """
from rucio_inject.lake.policy import schema
from rucio.common.schema import generic
import json
names = (schema.NAME, schema.SCHEMAS["name"], generic.NAME)
print(json.dumps([name["pattern"] for name in names]))
"""


def patterns(folder: Path, characters: str) -> list[str]:
    """The patterns of names in a server with these characters, and Rucio's own."""
    config = folder / "rucio.cfg"
    config.write_text("[policy]\nschema = generic\n")

    environment = {"LAKE_NAME_CHARACTERS": characters, "RUCIO_CONFIG": str(config)}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True
    )
    told: list[str] = json.loads(done.stdout)
    return told


def test_the_lake_takes_what_its_content_says(tmp_path: Path) -> None:
    ours, of_names, rucios = patterns(tmp_path, "+%")
    assert ours == of_names
    assert re.match(ours, "a/20200204_M1_4C+41.11%20.root")
    assert not re.match(rucios, "a/20200204_M1_4C+41.11%20.root")
    assert not re.match(ours, "a b")


def test_without_characters_it_is_rucios_own(tmp_path: Path) -> None:
    ours, _, rucios = patterns(tmp_path, "")
    assert ours == rucios


@pytest.mark.parametrize("characters", ["a", "\\", "]", "^", "'", "\n"])
def test_characters_that_no_site_adds(characters: str) -> None:
    data = parse(default_text(), "content").model_dump()
    with pytest.raises(ValidationError):
        Content.model_validate({**data, "name_characters": characters})
