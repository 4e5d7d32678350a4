"""Injection side by side: the seed's sequence, Rucio's UploadClient and ours, on one lake."""
