"""How far does a search with several workers go, and what does it meet first?

    python benchmarks/scaling.py                       # everything, about 25 minutes on 2 cores
    python benchmarks/scaling.py requests --workers 1 8 64

workers   Trials a minute of a small search (an LSTM of 32 units, 50 steps, 512 samples, 5 epochs) in one
          process, with 1 worker and with 2; and the seconds before the first trial begins. In turns.
requests  Requests a second that the oracle's process serves to 1 ... 64 workers whose trials are nothing, of
          3 epochs each: 8 requests a trial, for an epoch is two of them. The workers are threads of one
          process, so with 2 cores the oracle has one of them. With a random sampler, which costs nothing,
          and with the default; and with 20 epochs, which tells what an epoch costs.
ask       Milliseconds of the processor that a proposal, an epoch and the end of a trial take as the trials
          become more; the oracle alone, without tracking, with one thread, as Ray gives it. The rows of
          samplers that are not measured anew are kept.

Prints tables and writes JSON to benchmarks/results/.
"""

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import _machine
import _small_search
import numpy as np
from threadpoolctl import threadpool_limits

import recdrop_tune as rdt
from recdrop_tune.events import EpochEnded, TrialEnded, TrialStarted
from recdrop_tune.journal import Journal
from recdrop_tune.ray_workers import pack
from recdrop_tune.ray_workers.host import OracleHost
from recdrop_tune.ray_workers.job import MARK

RESULTS = Path(__file__).parent / "results" / "scaling.json"
EPOCHS = 3
"""Epochs of a trial of nothing, where the oracle is measured alone."""


def data():
    """The data of the small search: 512 samples."""
    generator = np.random.default_rng(0)
    return (
        generator.normal(size=(512, 50, 12)).astype("float32"),
        generator.normal(size=(512, 1)).astype("float32"),
    )


def workers_part(arguments):
    """Measures small searches; the numbers of workers take turns."""
    found = defaultdict(list)
    for turn in range(arguments.turns):
        for workers in (None, 1, 2):
            found[workers].append(small_search(workers, arguments.trials, turn + 1))
    rows = []
    print(f"\n{'a small search':20} {'trials':>6} {'a minute':>9} {'start, s':>9} {'trial, s':>9}")
    for workers, times in found.items():
        rates, starts, trials = (
            round(statistics.median(part), 2) for part in zip(*times, strict=True)
        )
        row = {"workers": workers, "trials": arguments.trials, "turns": arguments.turns}
        rows.append({**row, "a_minute": rates, "start_seconds": starts, "trial_seconds": trials})
        name = "one process" if workers is None else f"{workers} workers"
        print(
            f"{name:20} {arguments.trials:6} {rates:9.1f} {starts:9.1f} {trials:9.2f}", flush=True
        )
    return rows


def small_search(workers, trials, seed):
    """Returns trials a minute from the first one's beginning, seconds before that, and a trial's."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        result = rdt.tune(
            data(),
            data(),
            model=_small_search.build,
            max_trials=trials,
            epochs=5,
            tuner=rdt.Optuna(pruner="none", sampler="random"),
            seed=seed,
            workers=workers,
            directory=f"{folder}/project",
            tracking=rdt.MLflow(uri=f"sqlite:///{folder}/mlflow.db"),
            verbose=0,
        )
        events = Journal(result.directory / "events.jsonl").read()
    started = min(event.time for event in events if isinstance(event, TrialStarted))
    ended = max(event.time for event in events if isinstance(event, TrialEnded))
    seconds = statistics.median(result.trials["seconds"])
    return 60 * trials / (ended - started), started - began, seconds


def requests_part(arguments):
    """Measures the oracle's process, under more and more workers."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    rows = []
    print(
        f"\n{'sampler':10} {'epochs':>6} {'workers':>7} {'requests/s':>11} {'trials/s':>9} "
        f"{'median ms':>10} {'99 % ms':>8}"
    )
    try:
        every = [(sampler, n, 3) for sampler in ("random", "surrogate") for n in arguments.workers]
        for sampler, workers, epochs in [*every, ("random", 8, 20)]:
            found = requests(ray, sampler, workers, epochs, arguments.seconds)
            row = {"sampler": sampler, "epochs": epochs, **found}
            rows.append(row)
            print(
                f"{sampler:10} {epochs:6} {workers:7} {row['requests_a_second']:11.0f} "
                f"{row['trials_a_second']:9.1f} {row['median_ms']:10.1f} {row['p99_ms']:8.1f}",
                flush=True,
            )
    finally:
        ray.shutdown()
    return rows


def requests(ray, sampler, workers, epochs, seconds):
    """Measures the requests of a number of workers to one oracle, in its own search."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        project.mkdir()
        (project / MARK).touch()
        host = ray.remote(OracleHost).options(num_cpus=0).remote(project, None)
        parcel = ray.put(pack(ray, Nothing(project, sampler)))
        ray.get(host.open.remote([parcel], False))
        latencies, counts, deadline = [], [], time.perf_counter() + seconds

        def work(name):
            numbers, times, trials = np.random.default_rng(int(name)), [], 0

            def ask(*request):
                began = time.perf_counter()
                answer = ray.get(host.ask.remote(*request))
                times.append(time.perf_counter() - began)
                return answer

            while time.perf_counter() < deadline:
                trial, trials = ask("create_trial", name), trials + 1
                for epoch in range(epochs):
                    loss = float(numbers.random())
                    about = {"trial_id": trial.trial_id, "metrics": {"val_loss": loss}}
                    event = EpochEnded(epoch=epoch, seconds=0.1, **about)
                    host.ask.remote("emit", name, event)
                    ask("update_trial", name, trial.trial_id, {"val_loss": loss}, epoch)
                trial.status = "COMPLETED"
                ask("end_trial", name, trial, {})
            latencies.extend(times)
            counts.append(trials)

        threads = [threading.Thread(target=work, args=(str(n),)) for n in range(workers)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - began
        ray.kill(host)
    trials = sum(counts)
    return {
        "workers": workers,
        "trials": trials,
        "trials_a_second": round(trials / took, 2),
        "requests_a_second": round(trials * (2 + 2 * epochs) / took, 1),
        "median_ms": round(1000 * float(np.median(latencies)), 2),
        "p99_ms": round(1000 * float(np.quantile(latencies, 0.99)), 2),
    }


@dataclass(frozen=True)
class Nothing:
    """A job whose trials nobody trains."""

    project: Path
    sampler: str

    def new_tuner(self, directory=None):
        """Makes the tuner."""
        space = rdt.SearchSpace.load(_small_search.SPACE)
        oracle = rdt.OptunaOracle(
            "val_loss", max_trials=100_000, seed=0, sampler=self.sampler, pruner="none"
        )
        folder = self.project
        return rdt.Tuner(
            oracle, space.sample, directory=str(folder.parent), project_name=folder.name
        )

    def track(self, tuner, listeners=()):
        """Tracks it."""
        uri = f"sqlite:///{self.project.parent}/mlflow.db"
        return rdt.track(tuner, rdt.MLflow("scaling", uri=uri))

    def follow_up(self):
        """Nothing comes after the search."""


def ask_part(arguments):
    """Measures the oracle alone, by its trials so far."""
    old = held(arguments.out, "ask")
    rows = [row for row in old if row["sampler"] not in arguments.samplers]
    print(f"\n{'sampler':10} {'trials':>6} {'propose, ms':>12} {'epoch, ms':>10} {'end, ms':>8}")
    for sampler in arguments.samplers:
        with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
            for row in asked(sampler, folder, sorted(arguments.sizes)):
                rows.append({"sampler": sampler, **row})
                print(
                    f"{sampler:10} {row['trials']:6} {row['propose_ms']:12.1f} "
                    f"{row['epoch_ms']:10.2f} {row['end_ms']:8.1f}",
                    flush=True,
                )
    return rows


def held(path, part):
    """Returns the rows of a part that were written before."""
    return json.loads(path.read_text()).get(part, {}).get("result", []) if path.exists() else []


def asked(sampler, folder, sizes):
    """Yields the medians of the fifty trials before each size."""
    space, numbers = rdt.SearchSpace.load(_small_search.SPACE), np.random.default_rng(0)
    oracle = rdt.OptunaOracle("val_loss", max_trials=max(sizes), seed=0, sampler=sampler)
    rdt.Tuner(oracle, space.sample, directory=folder)
    oracle.verbose = 0
    times = defaultdict(list)

    def timed(name, method, *given):
        began = time.process_time()
        answer = method(*given)
        times[name].append((time.process_time() - began) * 1000)
        return answer

    for number in range(1, max(sizes) + 1):
        trial = timed("propose_ms", oracle.create_trial, "worker")
        for epoch in range(EPOCHS):
            metrics = {"val_loss": float(numbers.random())}
            timed("epoch_ms", oracle.update_trial, trial.trial_id, metrics, epoch)
        trial.status = "COMPLETED"
        timed("end_ms", oracle.end_trial, trial)
        if number in sizes:
            last = {name: round(float(np.median(all[-50:])), 2) for name, all in times.items()}
            yield {"trials": number, **last}


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="workers, requests, ask; all by default")
    parser.add_argument("--trials", type=int, default=16, help="of a small search")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each number of workers")
    parser.add_argument("--samplers", nargs="*", default=["random", "surrogate"])
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 300, 1000, 3000, 10_000])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    parts = {"workers": workers_part, "requests": requests_part, "ask": ask_part}
    for name in arguments.parts or parts:
        result = {"load": os.getloadavg()[0], "result": parts[name](arguments)}
        every = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        every |= {"machine": _machine.describe(), name: result}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(every, indent=1) + "\n")


if __name__ == "__main__":
    main()
