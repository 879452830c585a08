"""The tables of `which_dropout.py` across tasks, one per question.

Among several cells, the one with the lowest mean validation loss over the seeds is chosen, and its test loss
is reported: nothing is chosen by test data.
"""

from itertools import combinations

import pandas as pd
from _which_tables import gains, mean_and_spread, twin_losses, without_dropout

PLACEMENTS = (
    "input",
    "recurrent",
    "output",
    "input+recurrent",
    "input+output",
    "recurrent+output",
    "input+recurrent+output",
)
OWN = "native"
"""Keras's own dropout, which leaves cuDNN."""
PRESETS = ("quick", "lstm")
ALIKE = {("variational", "input"): (OWN, "input")}
"""Cells that are the same training as another one, and share its row."""


def answers(tasks):
    """Makes the tables by the names that the page has for them.

    Args:
        tasks: What the JSON holds, by task.
    """
    made = {
        "all": matrix(tasks),
        "own": duels(tasks, "Keras's own", lambda cell: cell[0] == OWN, "on cuDNN", _on_cudnn),
        "inside": duels(
            tasks,
            "at the input",
            lambda cell: cell[1] == "input",
            "inside the recurrence",
            lambda cell: cell[1] == "recurrent",
        ),
        "places": places(tasks),
        "spaces": spaces(tasks),
    }
    return made | ({"pairs": pairs(tasks)} if len(tasks) > 1 else {})


def cell_of(row):
    """Returns what names a cell of a table."""
    return row["wrapper"], row["placement"]


def shares(about):
    """Returns the gain of each cell over its twin as a share of the twin's test loss."""
    none = without_dropout(about)
    return {
        cell_of(row): each.gain / mean_and_spread(twin_losses(row, none))[0]
        for row, each in gains(about)
    }


def best_of(about, wanted):
    """Returns the row with the least validation loss among cells; `None` where a task has none of them."""
    rows = [row for row in about["rows"] if row["wrapper"] != "none" and wanted(cell_of(row))]
    return min(rows, key=lambda row: mean_and_spread(row["val_loss"])[0], default=None)


def matrix(tasks):
    """Writes the gain of every cell on every task in percent, the best mean first."""
    found = {name: shares(about) for name, about in tasks.items()}
    known = {
        name: {cell_of(row): each.outcome for row, each in gains(about)}
        for name, about in tasks.items()
    }
    cells = [
        cell for cell in next(iter(found.values())) if all(cell in of for of in found.values())
    ]
    mean = {cell: sum(of[cell] for of in found.values()) / len(found) for cell in cells}
    lines = [
        f"| wrapper | placement | mean | least | {' | '.join(tasks)} |",
        f"|---|---|{'---|' * len(tasks)}---|---|",
    ]
    for cell in sorted(cells, key=lambda cell: -mean[cell]):
        shown = [_marked(f"{100 * of[cell]:+.1f}", known[name][cell]) for name, of in found.items()]
        least = min(of[cell] for of in found.values())
        over_all = [f"{100 * value:+.1f}" for value in (mean[cell], least)]
        lines.append(f"| {' | '.join([*cell, *over_all, *shown])} |")
    return "\n".join(lines)


def duels(tasks, first, in_first, second, in_second):
    """Writes the best of one kind of dropout against the best of another, task by task.

    Args:
        tasks: The JSON by task.
        first: Name of the first kind.
        in_first: Returns whether a cell belongs to it.
        second: Name of the second kind.
        in_second: Returns whether a cell belongs to it.
    """
    lines = [
        f"| task | {first} | test loss | {second} | test loss | less loss {second}, 95 % |",
        "|---|---|---|---|---|---|",
    ]
    for name, about in tasks.items():
        one, other = best_of(about, in_first), best_of(about, in_second)
        if one is None or other is None:
            continue
        gain = _less(about, other, one)
        base = mean_and_spread(one["test_loss"])[0]
        shown = [
            f"{part / base:+.1%}".replace("%", " %") for part in (gain.gain, gain.low, gain.high)
        ]
        shown[0] = _marked(shown[0], gain.outcome)
        lines.append(
            f"| {name} | {_named(one)} | {_loss(one)} | {_named(other)} | {_loss(other)} "
            f"| {shown[0]} ({shown[1]} to {shown[2]}) |"
        )
    return "\n".join(lines)


def places(tasks):
    """Writes what the best dropout of each placement gains, task by task."""
    lines = [f"| task | {' | '.join(PLACEMENTS)} |", f"|---|{'---|' * len(PLACEMENTS)}"]
    for name, about in tasks.items():
        found = shares(about)
        known = {cell_of(row): each.outcome for row, each in gains(about)}
        shown = []
        for place in PLACEMENTS:
            row = best_of(about, lambda cell, place=place: cell[1] == place)
            cell = row and cell_of(row)
            shown.append(f"{_marked(_percent(found[cell]), known[cell])} {cell[0]}" if row else "")
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def pairs(tasks, shown=5):
    """Writes which two dropouts to try: what the better of both, by the validation data, gains.

    The last column takes a task away, picks the pair by the others, and tells what it gains on that one.
    """
    found = {name: _pair_gains(about) for name, about in tasks.items()}
    common = set.intersection(*(set(of) for of in found.values()))
    ranked = _ranked(found, common)
    lines = [f"| two to try | {' | '.join(tasks)} | mean |", f"|---|{'---|' * len(tasks)}---|"]
    for pair in ranked[:shown]:
        each = [found[name][pair] for name in tasks]
        lines.append(_pair_line(" and ".join(map(" ".join, pair)), each))
    apart = []
    for name in tasks:
        others = {other: of for other, of in found.items() if other != name}
        apart.append(found[name][_ranked(others, common)[0]])
    lines.append(_pair_line("the two that are best on the other tasks", apart))
    return "\n".join(lines)


def spaces(tasks):
    """Writes what search spaces gain: the best of their configurations by the validation data, `none` too."""
    rows = [row for about in tasks.values() for row in about["rows"] if row["wrapper"] != "none"]
    everything = set(map(cell_of, rows))
    offered = {f"the preset `{name}`": _cells_of(name) & everything for name in PRESETS}
    for wrapper in dict.fromkeys(row["wrapper"] for row in rows):
        alone = {ALIKE.get(cell, cell) for cell in _placed(wrapper)} & everything
        offered[f"`{wrapper}` alone"] = alone
    lines = [
        f"| what is searched | configurations | {' | '.join(tasks)} | mean |",
        f"|---|---|{'---|' * len(tasks)}---|",
    ]
    for name, cells in {"all of them": everything, **offered}.items():
        gained = [_gain_of(about, cells) for about in tasks.values()]
        lines.append(_pair_line(f"{name} | {len(cells)}", gained))
    return "\n".join(lines)


def _cells_of(preset):
    """Returns the cells that a preset searches, by the names that they have here."""
    import recdrop_tune as rdt

    space = rdt.SearchSpace.load(preset).to_dict()
    wrappers = set(space["wrapper"]) - {"none"}
    cells = {cell for wrapper in wrappers for cell in _placed(wrapper)}
    return {ALIKE.get(cell, cell) for cell in cells if cell[1] in space["placement"]}


def _placed(wrapper):
    from recdrop_tune.catalog import TECHNIQUES

    return {(wrapper, placement) for placement in TECHNIQUES[wrapper].placements}


def _gain_of(about, cells):
    """Returns what the best of some cells gains on a task; nothing where `none` is better."""
    best, none = best_of(about, cells.__contains__), without_dropout(about)
    if best is None or mean_and_spread(best["val_loss"]) > mean_and_spread(none["val_loss"]):
        return 0.0
    return shares(about)[cell_of(best)]


def _on_cudnn(cell):
    return cell[0] not in (OWN, "none")


def _less(about, row, other):
    """Returns by how much the loss of a row is less than that of another, seed by seed."""
    from recdrop_tune.results import paired_gains

    scores = {str(number): each["test_loss"] for number, each in enumerate(about["rows"])}
    names = [str(about["rows"].index(each)) for each in (row, other)]
    (gain,) = paired_gains(pd.DataFrame(scores), [tuple(names)])
    return gain


def _pair_gains(about):
    found = shares(about)
    validation = {cell_of(row): mean_and_spread(row["val_loss"])[0] for row in about["rows"]}
    return {
        (one, other): found[min((one, other), key=validation.get)]
        for one, other in combinations(found, 2)
    }


def _ranked(found, pairs):
    # By their names too, so that equal ones have an order.
    return sorted(pairs, key=lambda pair: (-sum(of[pair] for of in found.values()), pair))


def _pair_line(named, gained):
    return (
        f"| {named} | {' | '.join(map(_percent, gained))} | {_percent(sum(gained) / len(gained))} |"
    )


def _named(row):
    return f"{row['wrapper']}, {row['placement']}, {row['rate']:g}"


def _loss(row):
    return "{:.4f} ± {:.4f}".format(*mean_and_spread(row["test_loss"]))


def _percent(share):
    return f"{share:+.1%}".replace("%", " %")


def _marked(text, outcome):
    """Sets off what is known: to help in bold, to hurt in italics."""
    return {"helped": f"**{text}**", "hurt": f"*{text}*"}.get(outcome, text)
