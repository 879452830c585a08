"""What to search: a YAML file, a preset or a dict, checked and turned into Keras Tuner hyperparameters."""

from recdrop_tune.spaces.sampling import DropoutSample, Sample, plain_names
from recdrop_tune.spaces.space import SearchSpace
from recdrop_tune.spaces.values import Range

__all__ = ["DropoutSample", "Range", "Sample", "SearchSpace", "plain_names"]
