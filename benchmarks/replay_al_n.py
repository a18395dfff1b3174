"""Active learning of a scaling law, whole runs (nanoGPT shapes): strategies replayed on a finished log.

python benchmarks/replay_al_n.py [--seeds 21] [--workers 2] [--strategies NAME ...] [--store FILE]
"""

from active_replay import main

if __name__ == "__main__":
    main(
        "AL-N",
        "schram/nanogpt_large.parquet",
        page="replay_al_n",
        title="Active learning, whole runs",
        seeds=21,
        baselines=("random", "random ∝ 1/cost"),
    )
