"""The errors of pruning at an early epoch, by rate: dropout slows the first epochs."""

import numpy as np
from scipy.stats import rankdata, spearmanr

_LOOKS = (3, 5, 8, 10, 13, 20, 30)
_PRUNERS = ("halving", "patient_median", "median", "percentile", "asha", "hyperband")


def show(table):
    """Prints how well early epochs foretell the final score, and which rates they are unfair to.

    The shift of a rate is the mean place of its configurations at that epoch less their final place, in
    parts of all places: above 0 where an early look takes them for worse than they turn out. Among all
    configurations, and among those of the same units and learning rate, which differ in dropout alone.

    Returns:
        The same numbers, as rows.
    """
    names = list(table.curves)
    curves = np.array([table.curves[name] for name in names])
    rates = np.array([float(name[3] or 0.0) for name in names])
    alike = np.array([f"{name[0]} {name[4]}" for name in names])
    everything = np.zeros(len(names))
    rows = []
    for k in [k for k in _LOOKS if k < table.epochs]:
        seen = curves[:, :k].min(axis=1)
        place, final = places(seen, everything), places(table.scores, everything)
        row = {"k": k, "correlation": round(float(spearmanr(seen, table.scores)[0]), 3)}
        row["best 5 % cut off by the median"] = float((place[final <= 0.05] > 0.5).mean())
        row["correlation by rate"] = by_rate(
            rates, lambda at, seen=seen: spearmanr(seen[at], table.scores[at])[0]
        )
        row["shift by rate"] = by_rate(rates, lambda at, s=place - final: s[at].mean())
        inside = places(seen, alike) - places(table.scores, alike)
        row["shift by rate, dropout alone"] = by_rate(rates, lambda at, s=inside: s[at].mean())
        rows.append(row)
    for what in ("correlation by rate", "shift by rate", "shift by rate, dropout alone"):
        print(f"\n{what}\n{'k':>4} {'all':>6}" + "".join(f"{rate:>8}" for rate in rows[0][what]))
        for row in rows:
            cells = "".join(f"{value:8.2f}" for value in row[what].values())
            whole = f"{row['correlation']:6.2f}" if what.startswith("corr") else " " * 6
            print(f"{row['k']:4} {whole}{cells}")
    print("\nbest 5 % cut off by the median at epoch k")
    print({row["k"]: round(row["best 5 % cut off by the median"], 2) for row in rows})
    return rows


def show_stopped(table, space, searches, trials=30):
    """Prints which of the best fifth of all configurations each pruner stops, by their rate.

    At random they are drawn: a search that looks for the best compares good ones with better ones. Those
    of high rates are mostly at the end of the best fifth, so that any pruner stops more of them.

    Args:
        table: The curves.
        space: Their space.
        searches: How many searches are replayed with each pruner.
        trials: The trials of each.

    Returns:
        Rows with the number of such trials and the part of them that was stopped.
    """
    import _replay

    best = table.threshold(0.2)
    rows = []
    for name in _PRUNERS:
        seen = []
        for turn in range(searches):
            seed = _replay.far_seed(turn)
            oracle = _replay.ours(trials, table.epochs, seed, sampler="random", pruner=name)
            _replay.replay(oracle, table, space, [-np.inf], seen.append)
        good = [trial for trial in seen if min(table.curve(trial.sample)) <= best]
        row = {"pruner": name, "all": _part(seen), "best fifth": _part(good), "by rate": {}}
        for rate in sorted({trial.sample.rate or 0.0 for trial in good}):
            of_rate = [trial for trial in good if (trial.sample.rate or 0.0) == rate]
            row["by rate"][f"{rate:g}"] = {"trials": len(of_rate), "stopped": _part(of_rate)}
        rows.append(row)
        parts = [f"{rate}: {each['stopped']:.0%}" for rate, each in row["by rate"].items()]
        print(
            f"{name:15} stops {row['all']:4.0%}, of the best fifth {row['best fifth']:4.0%}", end=""
        )
        print(f"; by rate {', '.join(parts)}", flush=True)
    return rows


def _part(trials):
    return round(sum(trial.status == "STOPPED" for trial in trials) / max(1, len(trials)), 3)


def places(values, groups):
    """Returns the place of each value in its group, from just above 0 (best) to 1."""
    found = np.empty(len(values))
    for group in set(groups):
        at = groups == group
        found[at] = rankdata(values[at]) / at.sum()
    return found


def by_rate(rates, measure):
    """Returns a number for each rate."""
    return {f"{rate:g}": round(float(measure(rates == rate)), 3) for rate in sorted(set(rates))}
