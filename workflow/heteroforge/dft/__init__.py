"""Density functional theory with Quantum ESPRESSO: protocols, runs, recovery, analysis."""
