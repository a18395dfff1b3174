"""Probabilistic surrogate models of training runs."""
