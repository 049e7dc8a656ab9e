"""Read a dense model through a sparse one: bridges between their residual streams (Gao et al. 2025, §2.3)."""
