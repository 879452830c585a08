"""Runs several trials of one search at once, in Ray actors."""

from recdrop_tune.ray_workers.cluster import connected, import_ray
from recdrop_tune.ray_workers.job import DATA, Parcel, pack
from recdrop_tune.ray_workers.team import Team

__all__ = [
    "DATA",
    "Parcel",
    "Team",
    "connected",
    "import_ray",
    "pack",
]
