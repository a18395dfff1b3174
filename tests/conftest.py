"""Puts the shared strategies in reach of every test; importlib mode adds no folder of its own."""

import os
import sys
from pathlib import Path

# Small matrices on many threads spend their time waiting; set before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))
