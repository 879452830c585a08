"""The oracle: Optuna behind Keras Tuner's protocol, and what every oracle here needs to survive a crash."""

from recdrop_tune.oracle._failures import NOT_A_NUMBER as NOT_A_NUMBER
from recdrop_tune.oracle._failures import OUT_OF_MEMORY as OUT_OF_MEMORY
from recdrop_tune.oracle._files import Resumable as Resumable
from recdrop_tune.oracle._pruners import make_pruner as make_pruner
from recdrop_tune.oracle._samplers import make_sampler as make_sampler
from recdrop_tune.oracle._scores import Reached as Reached
from recdrop_tune.oracle._scores import best_step as best_step
from recdrop_tune.oracle._scores import first_value as first_value
from recdrop_tune.oracle._scores import forget_metrics as forget_metrics
from recdrop_tune.oracle._scores import metrics_at as metrics_at
from recdrop_tune.oracle._scores import objectives as objectives
from recdrop_tune.oracle._scores import reached as reached
from recdrop_tune.oracle._scores import values_of as values_of
from recdrop_tune.oracle._supervised import Supervised as Supervised
from recdrop_tune.oracle._supervised import ended_trial as ended_trial
from recdrop_tune.oracle._supervised import supervised as supervised
from recdrop_tune.oracle._workers import check_seconds as check_seconds
from recdrop_tune.oracle.optuna_oracle import OptunaOracle as OptunaOracle
from recdrop_tune.oracle.rebuilt import LOST as LOST
from recdrop_tune.oracle.rebuilt import decide_whether_to_go_on as decide_whether_to_go_on
from recdrop_tune.oracle.rebuilt import read_object as read_object
from recdrop_tune.oracle.rebuilt import read_trial as read_trial
from recdrop_tune.oracle.rebuilt import say as say
from recdrop_tune.oracle.rebuilt import set_aside as set_aside
from recdrop_tune.oracle.twins import NONE as NONE
from recdrop_tune.oracle.twins import Configuration as Configuration
from recdrop_tune.oracle.twins import TrainsTwin as TrainsTwin
from recdrop_tune.oracle.twins import active_values as active_values
from recdrop_tune.oracle.twins import best_dropping as best_dropping
from recdrop_tune.oracle.twins import front as front
from recdrop_tune.oracle.twins import has_dropout as has_dropout
from recdrop_tune.oracle.twins import is_wrapper as is_wrapper
from recdrop_tune.oracle.twins import offers_none as offers_none
from recdrop_tune.oracle.twins import ranked as ranked
from recdrop_tune.oracle.twins import twin_among as twin_among
from recdrop_tune.oracle.twins import twin_of as twin_of

__all__ = [
    "LOST",
    "NONE",
    "NOT_A_NUMBER",
    "OUT_OF_MEMORY",
    "Configuration",
    "OptunaOracle",
    "Reached",
    "Resumable",
    "Supervised",
    "TrainsTwin",
    "active_values",
    "best_dropping",
    "best_step",
    "check_seconds",
    "decide_whether_to_go_on",
    "ended_trial",
    "first_value",
    "forget_metrics",
    "front",
    "has_dropout",
    "is_wrapper",
    "make_pruner",
    "make_sampler",
    "metrics_at",
    "objectives",
    "offers_none",
    "ranked",
    "reached",
    "read_object",
    "read_trial",
    "say",
    "set_aside",
    "supervised",
    "twin_among",
    "twin_of",
    "values_of",
]
