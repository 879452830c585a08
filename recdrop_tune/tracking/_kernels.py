"""Names the kernels that the recurrent layers of a model train on."""

from __future__ import annotations

from typing import Any

from recdrop_tune.models import explain

# As `explain` calls them, and in a word: a column has to hold them.
_SHORT = {"fused CPU op": "fused CPU", "step loop": "loop"}


def kernels_of(model: Any) -> str | None:
    """Says what the training steps of a model's recurrent layers run on here.

    Args:
        model: A model that has been built.

    Returns:
        `"cuDNN"`, `"fused CPU"` or `"loop"`; several, joined by `+`, where layers differ, in their order;
        `None` for a model without a recurrent layer, and where it cannot be told.
    """
    try:
        kernels = [row.kernel for row in explain(model).rows]
    except Exception:  # A trial must not fail for a remark on it.
        return None
    return "+".join(dict.fromkeys(_SHORT.get(kernel, kernel) for kernel in kernels)) or None
