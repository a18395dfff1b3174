"""Figures: matplotlib axes in, axes out."""
