"""The campaign file: what is to be injected, whereto, and how it ends."""
