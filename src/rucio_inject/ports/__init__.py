"""What the steps need of the world, as interfaces whose docstrings are the contract.

Every implementation, in-memory or real, passes the same contract suite. All methods may be called
from several threads at once. None of them retries: that is a wrapper's work.
"""

from rucio_inject.ports.analyser import Analyser, Analysis
from rucio_inject.ports.catalogue import (
    AttributeValue,
    Catalogue,
    Identity,
    KnownCollection,
    KnownFile,
    KnownReplica,
    NewFile,
    Quota,
    Space,
)
from rucio_inject.ports.clock import Bell, Clock
from rucio_inject.ports.health import Health, ServerHealth, SessionLife
from rucio_inject.ports.ledger import FactSink, Ledger
from rucio_inject.ports.source import LeftOut, Source, SourceFile
from rucio_inject.ports.storage import Arrived, Porters, Storage, Stored, StoredFile

__all__ = [
    "Analyser",
    "Analysis",
    "Arrived",
    "AttributeValue",
    "Bell",
    "Catalogue",
    "Clock",
    "FactSink",
    "Health",
    "Identity",
    "KnownCollection",
    "KnownFile",
    "KnownReplica",
    "Ledger",
    "LeftOut",
    "NewFile",
    "Porters",
    "Quota",
    "ServerHealth",
    "SessionLife",
    "Source",
    "SourceFile",
    "Space",
    "Storage",
    "Stored",
    "StoredFile",
]
