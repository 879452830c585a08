"""Learning curves drawn from the prior of ifBO (Rakotoarison et al. 2024, arXiv 2404.16795).

A random network maps a configuration to the parameters of its curve, a mixture of four shapes that may
saturate, diverge and cross each other. It needs the packages `ifbo` and `torch`, and none of the weights of
ifBO's model.
"""

import numpy as np
from _table import Table, configurations, key

_PARAMETERS = 23
"""The outputs of the network per curve."""


def draw(problem, turn):
    """Draws a table of curves over the configurations of a problem's space.

    Args:
        problem: The problem; its space and epochs are used.
        turn: Number of the search. Each has its own table.
    """
    import torch
    from ifbo.priors.ftpfn_prior import DatasetPrior

    space = problem.hypermodel(problem.space).space
    names = [key(space.sample(hp)) for hp in configurations(space)]
    torch.manual_seed(turn)
    np.random.seed(turn)  # From here the prior draws, and from PyTorch.
    points = in_the_cube(names)
    prior = DatasetPrior(points.shape[1], _PARAMETERS)
    curves = prior.curves_for_configs(points)
    steps = np.arange(1, problem.epochs + 1) / problem.epochs
    # Its curves rise: of an accuracy.
    return Table({name: (1.0 - curves(steps, row)).tolist() for row, name in enumerate(names)})


def in_the_cube(names):
    """Returns the configurations as points of a cube: a number by its place, a name as 0 and 1."""
    columns = []
    for values in zip(*names, strict=True):
        try:
            known = sorted({float(value) for value in values if value})
        except ValueError:
            columns += [[float(value == name) for value in values] for name in sorted(set(values))]
            continue
        places = {value: place / max(1, len(known) - 1) for place, value in enumerate(known)}
        # Where a dimension is not active it has its middle.
        columns.append([places[float(value)] if value else 0.5 for value in values])
    return np.array(columns).T
