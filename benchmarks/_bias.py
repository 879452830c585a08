"""What a pruner that looks at an early epoch gets wrong, and for whom: dropout slows the first epochs."""

import numpy as np
from scipy.stats import rankdata, spearmanr

_LOOKS = (3, 5, 8, 10, 13, 20, 30)
_PRUNERS = (
    "pruner halving from 5",
    "pruner patient_median",
    "pruner median",
    "pruner asha",
    "sampler random",
)


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
    """Prints which of the best fifth of all configurations searches stop, by their rate.

    Of each pruner `searches` searches are replayed, of `trials` trials. High rates that make it into the
    best fifth are mostly at its end, and so are stopped more often by any pruner; a fair one stops few
    of any rate.

    Returns:
        Rows with the number of such trials and the part that was stopped, for each pruner.
    """
    import _replay

    best = table.threshold(0.2)
    rows = []
    for name in (_replay.OURS, *_PRUNERS):
        seen = []
        for turn in range(searches):
            oracle = _replay.oracle_for(name, trials, table.epochs, _replay.far_seed(turn))
            _replay.replay(oracle, table, space, [-np.inf], seen.append)
        good = [trial for trial in seen if min(table.curve(trial.sample)) <= best]
        row = {
            "tuner": name,
            "stopped of all": _part(seen),
            "stopped of the best fifth": _part(good),
        }
        for rate in sorted({trial.sample.rate or 0.0 for trial in good}):
            of_rate = [trial for trial in good if (trial.sample.rate or 0.0) == rate]
            row[f"rate {rate:g}"] = {"trials": len(of_rate), "stopped": _part(of_rate)}
        rows.append(row)
        print(f"\n{name}: {row['stopped of all']:.0%} of all, of the best fifth ", end="")
        print(f"{row['stopped of the best fifth']:.0%}; by rate ", end="")
        parts = [(key[5:], part) for key, part in row.items() if key.startswith("rate ")]
        print(", ".join(f"{r}: {part['stopped']:.0%} of {part['trials']}" for r, part in parts))
    return rows


def _part(trials):
    return round(sum(trial.stopped for trial in trials) / max(1, len(trials)), 3)


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
