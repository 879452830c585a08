"""Measures the machine while a trial runs, with MLflow's own monitor."""

from __future__ import annotations

import logging
import threading
from typing import Any

from recdrop_tune.errors import check_system_metrics

_WAIT_SECONDS = 5.0
_MONITOR = "mlflow.system_metrics.system_metrics_monitor"


class SystemMetrics:
    """Writes the use of processors, memory, disk, network and GPUs to a run, every ten seconds.

    The numbers are those of the whole machine. A trial shorter than ten seconds has none;
    `MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL` sets another interval. They are not in the journal, so an outage
    loses them.

    Args:
        tracking_uri: Where MLflow keeps its runs.

    Raises:
        RecdropError: The package that measures is not installed.

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
        """Measures for a run from now on, which must be running: measuring ends with it."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self.stop()
        # It logs each start and end, in the middle of the progress lines.
        logging.getLogger(_MONITOR).setLevel(logging.ERROR)
        self._monitor = SystemMetricsMonitor(run_id, tracking_uri=self._uri)
        self._monitor.start()

    def stop(self) -> None:
        """Stops measuring, and waits a few seconds for the last numbers to be written."""
        if self._monitor is None:
            return
        # MLflow waits minutes for a server that hangs.
        thread = threading.Thread(target=self._monitor.finish, daemon=True)
        thread.start()
        thread.join(_WAIT_SECONDS)
        self._monitor = None
