"""Hierarchical multi-output Gaussian processes over curves; tensors only."""
