"""How much each hyperparameter matters, as bars."""

from __future__ import annotations

import plotly.graph_objects as go

from recdrop_tune.results._plots import _style as style
from recdrop_tune.results._plots._view import View


def importances(view: View) -> go.Figure | None:
    """Draws the importances, the largest on top; `None` where they are not known."""
    if view.importances is None or view.importances.empty:
        return None
    shares = view.importances[::-1]
    drawing = style.figure("Importance of each hyperparameter", height=140 + 34 * len(shares))
    drawing.add_bar(
        x=shares.to_list(),
        y=[style.shown(name) for name in shares.index],
        orientation="h",
        marker={"color": style.BEST},
        text=[f"{share:.0%}" for share in shares],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    drawing.update_xaxes(title="share of what makes a trial one of the best", tickformat=".0%")
    drawing.update_yaxes(automargin=True)
    return drawing
