"""The two kernels of an LSTM on a CPU: TensorFlow's fused op, and the step loop."""

from unittest import mock

from recdrop_tune.kernels import run


def run_fused(call, layer):
    """Runs a call, and fails where it does not run in the fused op."""
    from tensorflow import raw_ops

    with mock.patch.object(raw_ops, "BlockLSTM", wraps=raw_ops.BlockLSTM) as op:
        result = run(call, layer)
    assert op.called
    return result


def run_loop(call, layer):
    """Runs a call in the step loop."""
    layer.use_cudnn = False
    try:
        return run(call, layer)
    finally:
        layer.use_cudnn = "auto"
