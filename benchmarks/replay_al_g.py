"""Active learning of a scaling law, run and depth (Gemstones shapes): strategies replayed on a finished log.

python benchmarks/replay_al_g.py [--seeds 24] [--workers 2] [--strategies NAME ...] [--store FILE]
"""

from active_replay import main

if __name__ == "__main__":
    main(
        "AL-G",
        "gemstones/curves.parquet",
        page="replay_al_g",
        title="Active learning, run and depth",
        seeds=24,
        baselines=("cheapest next action",),
    )
