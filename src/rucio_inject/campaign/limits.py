"""How much of a campaign the lake is to bear at a time."""

from __future__ import annotations

from pydantic import Field

from rucio_inject.campaign.model import RSE, Model
from rucio_inject.campaign.units import Bytes, Rate, Whole


class Ceilings(Model):
    """What may be in flight: uploaded, or about to be, and not yet read back from everywhere."""

    bytes_in_flight: Bytes | None = Field(
        default=None, ge=1, description="bytes in flight, as in 200GB"
    )
    files_in_flight: Whole | None = Field(default=None, ge=1, description="files in flight")


class Limits(Ceilings):
    """Limits in all, and for each RSE."""

    rate: Rate | None = Field(
        default=None, ge=1, description="mean rate of the uploads together, as in 500MB/s"
    )
    per_rse: dict[RSE, Ceilings] = Field(
        default_factory=dict,
        description="limits of an RSE; a file counts at every RSE that it may be brought to",
    )
