"""Inverse design of two-dimensional van der Waals heterostructures."""

__version__ = "0.1.0"
