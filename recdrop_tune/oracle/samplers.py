"""Optuna samplers by name, and the default: a Gaussian process over all trials of a conditional space."""

from __future__ import annotations

import secrets
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from math import isinf, log, sqrt
from numbers import Integral
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from recdrop_tune.errors import InvalidArgumentError, invalid_argument
from recdrop_tune.oracle.parameters import (
    Candidates,
    Encoding,
    Parameter,
    Values,
    check_space,
    infer_space,
    key_of,
)
from recdrop_tune.oracle.scores import Curve, estimate_values, read_curve

STARTUP_TRIALS = 5
"""Random trials before the first proposal; more of them do not pay off (benchmarks)."""

# Times the root of the number of parameters, as distances grow with it.
_LENGTH_SCALES = (0.1, 0.2, 0.4, 0.8)
# Mode and variance of the prior of its logarithm: with few trials, the likelihood alone fits any scale.
_EXPECTED_SCALE, _SCALE_VARIANCE = 0.4, 0.5
# Variance of a score due to the seed of its training; the scores' own variance is 1.
_NOISE = 0.1
# The most trials that are fitted: the best and the last ones, and the last running ones. So the time of a
# proposal stays the same with many trials and workers.
_MAX_FITTED = 100
BEST_VARIED = 10
# How often one of the first trials is drawn anew because it is refused.
_DRAWS = 50

DISCARDED = "discarded"
"""Attribute of a failed trial that never ran, so that samplers ignore it."""

WARM = "warm_start"
"""Attribute of a trial of another search; its configuration can be tried again."""

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

Array = NDArray[np.float64]


def nothing(values: Values) -> bool:
    """Refuses no configuration. A module's function, as samplers are pickled."""
    return False


class SurrogateSampler(BaseSampler):
    """Proposes the configuration with the largest expected improvement over the best trial.

    A Gaussian process (Matern 5/2, with the likeliest of a few length scales) predicts the ranks of
    configurations among the trials, as normal scores: the scale of the objective and its outliers do not
    matter. It picks from all untried configurations of a small space, or from 350 of a large one. Pruned
    trials count with an estimate of their final value: their best value less the median gain of the complete
    trials from that step on. Failed ones count as the worst, and running ones as average, so that several
    workers try different regions.

    The first five trials are drawn at random. No configuration is proposed twice. Once all of a small space
    has been tried, it draws at random, as Optuna cannot end a study there.

    Args:
        seed: Random seed. The same seed and the same trials give the same proposal. By default another
            one each time.
        space: The whole conditional space. By default it is inferred from the trials that have ended: a
            parameter that only some of them have depends on the categorical or integer parameter before it
            whose values separate them. A parameter that the study has never suggested is drawn at random
            the first time. An `OptunaOracle` sets the space of its search.

    Attributes:
        space: The given space, parents first; None if it is inferred.
        refuses: Returns whether the surrogate should not propose a configuration. An `OptunaOracle` sets it.

    Raises:
        InvalidArgumentError: The seed is not an integer from 0 to 2**32 - 1, or the space has a
            condition on a parameter that it lacks; when it samples, the study has several objectives.

    Example:
        >>> def objective(trial):
        ...     x = trial.suggest_float("x", -1, 1)
        ...     return x**2 if trial.suggest_categorical("kind", "ab") == "a" else 2 + x
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(sampler=SurrogateSampler(seed=0))
        >>> study.optimize(objective, n_trials=20)
        >>> study.best_params["kind"], study.best_value < 0.01
        ('a', True)

    Reference:
        Expected improvement: Jones, Schonlau and Welch 1998, doi:10.1023/A:1008306431147. One process over a
        conditional space, inactive parameters in the middle: Hutter, Hoos and Leyton-Brown 2011,
        doi:10.1007/978-3-642-25566-3_40.
    """

    def __init__(self, seed: int | None = None, space: Iterable[Parameter] | None = None) -> None:
        self._seed = secrets.randbits(32) if seed is None else _check_seed(seed)
        self.space = None if space is None else check_space(space)
        self.refuses: Callable[[Values], bool] = nothing
        self._candidates: tuple[list[Parameter], Candidates] | None = None
        self._read: dict[tuple[int, datetime | None], Curve] = {}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the parameters that are proposed together; see `optuna.samplers.BaseSampler`."""
        if len(study.directions) > 1:
            raise InvalidArgumentError(
                f"`SurrogateSampler` optimizes one objective, and the study `{study.study_name}` has "
                f"{len(study.directions)}. Use `optuna.samplers.TPESampler` or `NSGAIISampler`."
            )
        return {each.name: each.distribution for each in self._space_of(study)}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Values:
        """Proposes a configuration; see `optuna.samplers.BaseSampler`."""
        trials = known_trials(study, trial)
        if not search_space or (self.space is None and len(trials) < STARTUP_TRIALS):
            return {}
        space = self._space_of(study)
        found = self._propose(space, trials, study.direction, self._random(trial))
        # Another thread may have inferred more parameters by now.
        return {name: value for name, value in (found or {}).items() if name in search_space}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draws the value of an unknown parameter; see `optuna.samplers.BaseSampler`."""
        random = self._random(trial, zlib.crc32(param_name.encode()))
        return Parameter(param_name, param_distribution).at(random.random())

    def _random(self, trial: FrozenTrial, *more: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, trial.number, *more])

    def _space_of(self, study: optuna.Study) -> list[Parameter]:
        if self.space is not None:
            return self.space
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return infer_space(study.get_trials(deepcopy=False, states=states))

    def _propose(
        self,
        space: list[Parameter],
        trials: list[FrozenTrial],
        direction: StudyDirection,
        random: np.random.Generator,
    ) -> Values | None:
        """Returns the most promising configuration; None if all have been tried or are refused."""
        sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
        ended = {t.number: self._curve(t, sign) for t in trials if t.state in _ENDED}
        values = {t.number: t.params for t in trials}
        tried = {
            ended[t.number].key if t.number in ended else key_of(t.params, t.distributions)
            for t in trials
            if WARM not in t.user_attrs
        }
        worth = estimate_values(ended)
        ranked = sorted(worth, key=worth.__getitem__)
        candidates = self._candidates_of(space)
        if len(trials) < STARTUP_TRIALS or not ranked:
            drawn = (candidates.draw(tried, random) for _ in range(_DRAWS))
            return next((each for each in drawn if each and not self.refuses(each)), None)
        best = [values[number] for number in ranked[:BEST_VARIED]]
        offered = candidates.untried(tried, best, random)
        if not offered:
            return None
        under_way = [number for number in values if number not in ended]
        fitted = choose_fitted(ranked, values, under_way)
        encoding = Encoding(space)
        scores = normal_scores([worth.get(number) for number in fitted])
        points = encoding([values[number] for number in fitted])
        unit = sqrt(max(1, encoding.size))
        mean, deviation = predict(points, scores, encoding(offered), unit)
        order = np.argsort(-improvement(mean, deviation, scores.min()), kind="stable")
        return next((offered[n] for n in order if not self.refuses(offered[n])), None)

    def _curve(self, trial: FrozenTrial, sign: float) -> Curve:
        if not trial.state.is_finished():
            return read_curve(trial, sign)
        identity = trial.number, trial.datetime_start  # One sampler can serve several studies.
        if identity not in self._read:  # A trial that has ended never changes.
            self._read[identity] = read_curve(trial, sign)
        return self._read[identity]

    def _candidates_of(self, space: list[Parameter]) -> Candidates:
        if self._candidates is None or self._candidates[0] != space:
            self._candidates = space, Candidates(space)
        return self._candidates[1]


def known_trials(study: optuna.Study, trial: FrozenTrial | None = None) -> list[FrozenTrial]:
    """Lists the other trials that are running or have ended, without discarded ones."""
    states, own = (*_ENDED, TrialState.RUNNING), None if trial is None else trial.number
    return [
        each
        for each in study.get_trials(deepcopy=False, states=states)
        if each.number != own and each.params and not each.user_attrs.get(DISCARDED)
    ]


def _check_seed(seed: Any) -> int:
    number = isinstance(seed, Integral) and not isinstance(seed, bool)
    if not number or not 0 <= int(seed) < 2**32:
        raise invalid_argument("seed", expected="an integer from 0 to 2**32 - 1", received=seed)
    return int(seed)


def normal_scores(values: Sequence[float | None]) -> Array:
    """Returns the normal score of each value by its rank; 0 for unknown values.

    Example:
        >>> normal_scores([3.0, 1.0, None, 900.0]).round(2).tolist()
        [0.0, -1.22, 0.0, 1.22]
    """
    from scipy.stats import norm, rankdata

    known = [value for value in values if value is not None]
    scores = norm.ppf((rankdata(known) - 0.5) / len(known))
    scores /= scores.std() or 1.0
    found = iter(scores)
    return np.array([0.0 if value is None else next(found) for value in values])


def predict(points: Array, scores: Array, at: Array, unit: float) -> tuple[Array, Array]:
    """Returns mean and standard deviation of a Gaussian process at other points.

    Args:
        points: The points with known scores, of shape `(trials, coordinates)`.
        scores: The scores, of shape `(trials,)`.
        at: The other points, of shape `(candidates, coordinates)`.
        unit: The unit of the length scales.
    """
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    fitted = {}
    for scale in _LENGTH_SCALES:
        kernel = Matern(length_scale=scale * unit, length_scale_bounds="fixed", nu=2.5)
        process = GaussianProcessRegressor(kernel, alpha=_NOISE, optimizer=None)
        prior = log(scale / _EXPECTED_SCALE) ** 2 / (2 * _SCALE_VARIANCE)
        process.fit(points, scores)
        fitted[process.log_marginal_likelihood_value_ - prior] = process
    mean, deviation = fitted[max(fitted)].predict(at, return_std=True)
    return mean, deviation


def improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Returns the expected improvement of each point over the best score."""
    from scipy.stats import norm

    deviation = np.maximum(deviation, 1e-9)
    steps = (best - mean) / deviation
    found: Array = deviation * (steps * norm.cdf(steps) + norm.pdf(steps))
    return found


def choose_fitted(
    ranked: Sequence[int], begun: Iterable[int], under_way: Sequence[int]
) -> list[int]:
    """Returns the numbers of the trials that are fitted: all, or the best and the last ones of many.

    Args:
        ranked: The trials that have ended, best first.
        begun: All trials, in the order in which they began.
        under_way: The running ones, in that order.
    """
    if len(ranked) > _MAX_FITTED:
        best = ranked[: _MAX_FITTED // 2]
        others = set(ranked) - set(best)
        last = [number for number in begun if number in others][-_MAX_FITTED // 2 :]
        ranked = [*best, *last]
    return [*ranked, *under_way[-_MAX_FITTED:]]


class GridSampler(optuna.samplers.BruteForceSampler):
    """Tries every configuration of a conditional space once, in random order.

    Raises:
        InvalidArgumentError: A range without a step is asked for.
    """

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draws the value of one parameter; see `optuna.samplers.BaseSampler`."""
        if isinf(Parameter(param_name, param_distribution).count):
            raise invalid_argument(
                "sampler",
                expected="another one than 'grid', which needs a `step` or a list of values for each range",
                received=param_name,
            )
        return super().sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, *args: Any) -> None:
        """Does not stop the study after the last configuration: outside of `optimize` Optuna raises there."""
        with suppress(RuntimeError):
            super().after_trial(*args)


_SAMPLERS: dict[str, Any] = {
    "cmaes": optuna.samplers.CmaEsSampler,
    "gp": optuna.samplers.GPSampler,
    "grid": GridSampler,
    "nsga2": optuna.samplers.NSGAIISampler,
    "qmc": optuna.samplers.QMCSampler,
    "random": optuna.samplers.RandomSampler,
}


BLIND = ("cmaes", "grid", "nsga2", "qmc", "random")
"""The samplers that learn from no trials, or only from those that they have proposed themselves."""


def make_sampler(name: str | None, seed: int, begun: int = 0) -> BaseSampler:
    """Makes an Optuna sampler.

    Args:
        name: One of `"surrogate"` (a `SurrogateSampler`; `None` is the same), `"tpe"`, `"random"`, `"grid"`,
            `"qmc"`, `"nsga2"` (several objectives), `"gp"` (needs torch) and `"cmaes"` (needs cmaes).
        seed: Seed of the sampler.
        begun: The number of trials in the study.

    Raises:
        InvalidArgumentError: There is no sampler of that name.
    """
    known = {*_SAMPLERS, "surrogate", "tpe"}
    if name is not None and (not isinstance(name, str) or name not in known):
        raise invalid_argument(
            "sampler",
            expected=f"one of {', '.join(sorted(known))}, or an Optuna sampler",
            received=name,
        )
    if name in (None, "surrogate"):
        return SurrogateSampler(seed)  # It seeds each trial by its number.
    if begun:
        # With the same seed the sampler would propose its first trials again.
        seed = int(np.random.SeedSequence([seed, begun]).generate_state(1)[0])
    with warnings.catch_warnings():
        # `group`, `multivariate` and some samplers are experimental in Optuna; chosen on purpose.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
        sampler: BaseSampler = _SAMPLERS[name](seed=seed)
        return sampler


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silences Optuna's log: a search reports its trials itself."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
