"""The lake's policy package, which changes nothing: Rucio's generic policy holds.

Rucio looks for a policy package each time it makes a PFN. Without one it asks its database for the
name of one each time, which costs more than making the PFN does.
"""
