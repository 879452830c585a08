"""Measures the machine while a trial runs: MLflow's own monitor, on a run that is named."""

from __future__ import annotations

import logging
import threading
from typing import Any

from recdrop_tune.errors import check_system_metrics as check_system_metrics

_WAIT_SECONDS = 5.0
_MONITOR = "mlflow.system_metrics.system_metrics_monitor"


class SystemMetrics:
    """Writes the use of processors, memory, disk, network and GPUs to a run, every ten seconds.

    The numbers are the whole machine's, whatever else runs there, and a trial shorter than ten
    seconds has none; `MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL` sets another interval. They go straight
    to MLflow and are not in the journal, so what an outage has left out stays left out.

    Args:
        tracking_uri: Where MLflow keeps its runs.

    Raises:
        RecdropError: The packages that measure are not installed.

    Example:
        >>> metrics = SystemMetrics("sqlite:///mlflow.db")
        >>> metrics.start(run_id)
        >>> metrics.stop()
    """

    def __init__(self, tracking_uri: str) -> None:
        check_system_metrics()
        self._uri = tracking_uri
        self._monitor: Any = None

    def start(self, run_id: str) -> None:
        """Begins to measure for a run, and no longer for the one before.

        Args:
            run_id: A run that is running: the measuring ends with it.
        """
        # Here, because it imports what may not be installed.
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self.stop()
        # It would log each start and end, in the middle of the progress lines.
        logging.getLogger(_MONITOR).setLevel(logging.ERROR)
        self._monitor = SystemMetricsMonitor(run_id, tracking_uri=self._uri)
        self._monitor.start()

    def stop(self) -> None:
        """Ends the measuring, and waits a little for the last numbers to be written."""
        if self._monitor is None:
            return
        # Of a server that hangs MLflow would wait for minutes.
        thread = threading.Thread(target=self._monitor.finish, daemon=True)
        thread.start()
        thread.join(_WAIT_SECONDS)
        self._monitor = None
