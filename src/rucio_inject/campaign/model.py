"""What all parts of a campaign file share: Rucio's texts, and models without unknown keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from rucio_inject.campaign.units import parse_expression

# What Rucio's generic schema takes; a site may take more, never less.
SCOPE = r"^[a-zA-Z_\-.0-9]+$"
ACCOUNT = r"^[a-z0-9-_]+$"
RSE_NAME = r"^[A-Z0-9]+([_-][A-Z0-9]+)*$"
CAMPAIGN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
TARGET = r"^[A-Za-z0-9][A-Za-z0-9+_-]{0,11}$"
KEY = r"^[a-z][a-z0-9-]{0,30}$"
# None at which a URL ends: Rucio and others would take the file for another one.
CHARACTERS = r"^[+%=@~:,;!$&()]*$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
INDEX = r"^[a-z0-9][a-z0-9._-]*$"
SUFFIX = r"^[._-][A-Za-z0-9._-]{1,40}$"
# What the patterns ask for, in words.
IN_WORDS = {
    SCOPE: "may hold letters, digits, dot, dash and underscore only",
    ACCOUNT: "may hold small letters, digits, dash and underscore only",
    RSE_NAME: "must be an RSE's name: capitals and digits, joined by dash or underscore",
    CAMPAIGN: "must begin with a letter or digit, and go on with these, dot, dash and underscore",
    SUFFIX: "must begin with dot, dash or underscore, and go on with letters, digits and these",
    KEY: "must begin with a small letter, and go on with these, digits and dash",
    CHARACTERS: "may hold + % = @ ~ : , ; ! $ & ( ) only",
    VARIABLE: "must be the name of a variable: letters, digits and underscore, no digit first",
    INDEX: "must begin with a small letter or digit, and go on with these, dot, dash, underscore",
    TARGET: "must be 1 to 12 letters, digits, +, dash and underscore, the first no sign",
}
Scope = Annotated[str, StringConstraints(pattern=SCOPE, max_length=25)]
Account = Annotated[str, StringConstraints(pattern=ACCOUNT, max_length=25)]
RSE = Annotated[str, StringConstraints(pattern=RSE_NAME)]
RSEExpression = Annotated[str, StringConstraints(min_length=1), AfterValidator(parse_expression)]


class Misfit(ValueError):
    """Keys that do not go together: `where` is the one to be looked at first, from the part of the
    campaign on that refuses them."""

    def __init__(self, message: str, *where: str | int) -> None:
        super().__init__(message)
        self.where = where


class Model(BaseModel):
    """What all parts of a campaign share: no unknown keys, no change after loading, and no error
    that shows what was given, as that may be a secret."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        # A model is a part of others: it is built with the whole, once.
        defer_build=True,
    )


# How errors name the two sorts of a value that may be one text, or keys and values.
AS_TEXT, AS_KEYS = "[text]", "[keys]"


def text_or_keys(value: object) -> str:
    """Which of the two sorts a value is meant to be."""
    return AS_KEYS if isinstance(value, Mapping | Model) else AS_TEXT
