"""An in-memory lake with Rucio's semantics, and the contracts that every adapter must keep."""
