"""What a pruner that looks at an early epoch gets wrong, and for whom: dropout slows the first epochs."""

import numpy as np
from scipy.stats import rankdata, spearmanr

_LOOKS = (3, 5, 8, 10, 13, 20, 30)


def show(table):
    """Prints how well each epoch foretells the final score, for all and by rate.

    The shift is the mean place at that epoch less the final one, in parts of all configurations: above
    0 where an early look takes them for worse than they turn out.
    """
    curves = np.array(list(table.curves.values()))
    rates = np.array([float(name[3] or 0.0) for name in table.curves])
    final = rankdata(table.scores) / len(table.scores)
    best = final <= 0.05
    groups = sorted(set(rates))
    print("rank correlation of the best until epoch k with the final score, by rate")
    print(f"{'k':>4} {'all':>6}" + "".join(f"{rate:>8.3f}" for rate in groups))
    looks = {k: curves[:, :k].min(axis=1) for k in _LOOKS if k < table.epochs}
    for k, seen in looks.items():
        inside = [spearmanr(seen[rates == r], table.scores[rates == r])[0] for r in groups]
        whole = spearmanr(seen, table.scores)[0]
        print(f"{k:4} {whole:6.2f}" + "".join(f"{value:8.2f}" for value in inside))
    print("\nshift of the place at epoch k, by rate; the best 5 % that the median would cut off")
    print(f"{'k':>4} {'cut':>6}" + "".join(f"{rate:>8.3f}" for rate in groups))
    for k, seen in looks.items():
        place = rankdata(seen) / len(seen)
        shift = [(place - final)[rates == rate].mean() for rate in groups]
        cut = (place[best] > 0.5).mean()
        print(f"{k:4} {cut:6.2f}" + "".join(f"{value:+8.3f}" for value in shift))
