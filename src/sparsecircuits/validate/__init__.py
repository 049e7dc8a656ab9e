"""Is a circuit true? Tests of it against the full model."""

from sparsecircuits.validate.necessity import Necessity, necessity

__all__ = ["Necessity", "necessity"]
