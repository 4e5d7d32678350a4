"""The lake's schema: Rucio's generic one, with further characters in DID names where its content
file asks for them, as sites change theirs."""

from __future__ import annotations

import os
import re

from rucio.common.schema import generic

CHARACTERS = "LAKE_NAME_CHARACTERS"
"""The variable that names them."""

_EXTRA = re.escape(os.environ.get(CHARACTERS, ""))

NAME = {
    **generic.NAME,
    "pattern": rf"^[/A-Za-z0-9{_EXTRA}][/A-Za-z0-9\.\-_{_EXTRA}]*$",
}
SCHEMAS = {**generic.SCHEMAS, "name": NAME}
