"""What to search: a YAML file, a preset or a dict, checked and turned into Keras Tuner hyperparameters."""

from recdrop_tune.spaces._sampling import DropoutSample as DropoutSample
from recdrop_tune.spaces._sampling import Sample as Sample
from recdrop_tune.spaces._sampling import plain_names as plain_names
from recdrop_tune.spaces._space import SearchSpace as SearchSpace
from recdrop_tune.spaces._values import Range as Range

__all__ = ["DropoutSample", "Range", "Sample", "SearchSpace", "plain_names"]
