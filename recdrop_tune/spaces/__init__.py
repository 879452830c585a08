"""What to search: a YAML file, a preset or a dict, checked and turned into Keras Tuner hyperparameters."""

from recdrop_tune.spaces.fields import Report, suggestion
from recdrop_tune.spaces.reading import read_fields
from recdrop_tune.spaces.sampling import DropoutSample, Sample, plain_names
from recdrop_tune.spaces.sources import parse, read_text
from recdrop_tune.spaces.space import SearchSpace
from recdrop_tune.spaces.values import Range

__all__ = [
    "DropoutSample",
    "Range",
    "Report",
    "Sample",
    "SearchSpace",
    "parse",
    "plain_names",
    "read_fields",
    "read_text",
    "suggestion",
]
