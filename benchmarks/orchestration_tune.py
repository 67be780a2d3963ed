"""Ray Tune's rate for the same no-op, each trial with one (pretended) GPU.

    python -m benchmarks.orchestration_tune --count 20
    python -m benchmarks.orchestration_tune --count 200 --reuse-actors

Tune as its manual shows it: a class trainable, a grid over the seed, results kept by Tune. With
`--reuse-actors` a finished trial's actor is reset for the next one.
"""

import argparse
import json
import os
import tempfile
import time
from typing import Any

import ray
from ray import tune

from orchestrator.cluster.local_ray import OBJECT_STORE_BYTES, protect_token


class Noop(tune.Trainable):  # type: ignore[misc]  # ray has no types
    """A trial that ends at its first step."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the configuration."""
        self.seed = config["seed"]

    def step(self) -> dict[str, Any]:
        """Return what the no-op evaluation returns."""
        return {"perplexity": 1.0 + self.seed, "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Serve the next trial."""
        self.seed = new_config["seed"]
        return True


def measure(count: int, reuse_actors: bool) -> dict[str, Any]:
    """Run the trials and return the rate."""
    protect_token()
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=1,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(Noop, {"cpu": 1, "gpu": 1}),
            param_space={"seed": tune.grid_search(list(range(count)))},
            tune_config=tune.TuneConfig(reuse_actors=reuse_actors),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        began = time.perf_counter()
        results = tuner.fit()
        wall = time.perf_counter() - began
    assert len(results) == count
    assert results.num_errors == 0
    ray.shutdown()
    return {
        "count": count,
        "reuse_actors": reuse_actors,
        "per_second": round(count / wall, 2),
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    """Parse the arguments and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--reuse-actors", action="store_true")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.count, arguments.reuse_actors)))


if __name__ == "__main__":
    main()
