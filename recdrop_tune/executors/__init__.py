"""Executors: many trials of one search at once, in Ray's actors."""

from recdrop_tune.executors._job import DATA as DATA
from recdrop_tune.executors._job import FollowUp as FollowUp
from recdrop_tune.executors._job import Job as Job
from recdrop_tune.executors._job import process_settings as process_settings
from recdrop_tune.executors._job import put_parts as put_parts
from recdrop_tune.executors._messages import Closed as Closed
from recdrop_tune.executors._ray import connected as connected
from recdrop_tune.executors._ray import import_ray as import_ray
from recdrop_tune.executors._resources import Resources as Resources
from recdrop_tune.executors._resources import check_resources as check_resources
from recdrop_tune.executors._resources import share_gpus as share_gpus
from recdrop_tune.executors._team import Team as Team

__all__ = [
    "DATA",
    "Closed",
    "FollowUp",
    "Job",
    "Resources",
    "Team",
    "check_resources",
    "connected",
    "import_ray",
    "process_settings",
    "put_parts",
    "share_gpus",
]
