"""The tables of `which_dropout.py`, one for each task."""

import math


def mean_and_spread(values):
    """Returns the mean and the standard deviation of a sample."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def gains(about):
    """Returns the gain of each cell over its twin, with 95 % intervals that hold for all cells together.

    Args:
        about: What the JSON holds of a task.

    Returns:
        The rows with dropout, each with its gain.
    """
    import pandas as pd

    from recdrop_tune.results import paired_gains

    none = without_dropout(about)
    rows = [row for row in about["rows"] if row is not none]
    scores, pairs = {"none": none["test_loss"]}, []
    for number, row in enumerate(rows):
        twin = twin_losses(row, none)
        name = "none" if twin is none["test_loss"] else f"{number} twin"
        scores |= {name: twin, str(number): row["test_loss"]}
        pairs.append((str(number), name))
    found = paired_gains(pd.DataFrame(scores), pairs)
    return list(zip(rows, found, strict=True))


def twin_losses(row, none):
    """Returns the test losses of a row's twin, which is the row without dropout if its learning rate is."""
    same = row["learning_rate"] == none["learning_rate"]
    return none["test_loss"] if same else row["twin_test_loss"]


def without_dropout(about):
    """Returns the row of a task that has no dropout."""
    return next(row for row in about["rows"] if row["wrapper"] == "none")


def table(about):
    """Writes the table of a task in Markdown, the best mean first."""
    metric = about["metric"]
    better = {id(row): each for row, each in gains(about)}
    lines = [
        f"| wrapper | placement | rate | test loss | test {metric} | gain over its twin, 95 % |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(about["rows"], key=lambda row: mean_and_spread(row["test_loss"])[0]):
        loss, known = mean_and_spread(row["test_loss"]), mean_and_spread(row[f"test_{metric}"])
        gain = better.get(id(row))
        gained = f"{gain.gain:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})" if gain else ""
        rate = "" if row["rate"] is None else f"{row['rate']:g}"
        lines.append(
            f"| {row['wrapper']} | {row['placement'] or ''} | {rate} | {loss[0]:.4f} ± {loss[1]:.4f} "
            f"| {known[0]:.4f} ± {known[1]:.4f} | {gained} |"
        )
    return "\n".join(lines)


def counts(about):
    """Counts for a task what is better than no dropout, what is known, and the time."""
    none, gained = without_dropout(about), gains(about)
    rows = [row for row, _ in gained]
    found = [gain for _, gain in gained]
    lowest = about["space"]["rate"][0]
    same = [row["learning_rate"] == none["learning_rate"] for row in rows]
    return (
        f"{share(each.gain > 0 for each in found)} better in the mean, "
        f"{share(each.outcome == 'helped' for each in found)} helped, "
        f"{share(each.outcome == 'hurt' for each in found)} hurt, "
        f"{share(row['rate'] == lowest for row in rows)} at the lowest rate, "
        f"{share(same)} with `none` for a twin, "
        f"{sum(row['seconds'] for row in about['rows']) / 60:.0f} minutes"
    )


def share(flags):
    """Writes how many of the flags are true."""
    flags = list(flags)
    return f"{sum(flags)} of {len(flags)}"
