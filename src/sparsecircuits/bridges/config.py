"""What a bridge is and what it is trained for, one field a knob (Gao et al. 2025, §2.3, §A.3).

The paper gives neither the weights of its losses nor the normaliser; those here are ours. With all weights
at 1 the demo's sparse model ends 0.08 nats above the same trained alone, with 0.1 no worse (docs/bridges.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class BridgeConfig(Config):
    """The losses between a dense model and a sparse one, and the maps between their residual streams."""

    fraction: float = 0.25
    """Share of an encoder's outputs that its AbsTopK keeps (paper: AbsTopK; the share is ours, that of a
    sparse model's sites)."""

    encode: float = 0.1
    """Weight of the encoders' normalised mean squared error, summed over locations (§A.3)."""
    decode: float = 0.1
    """Weight of the decoders', likewise."""
    to_sparse: float = 0.1
    """Weight of KL(dense || hybrid) for runs that begin dense and go on sparse, summed over locations."""
    to_dense: float = 0.1
    """Weight of the same for runs that begin sparse and go on dense."""
    mixtures: int = 0
    """Random mixtures a batch: hybrids that may cross at every location, which the paper names as the ideal.
    0: those with one crossing alone (paper)."""
    mixture: float = 0.1
    """Weight of KL(dense || mixture), summed over mixtures."""

    lr: float = 3e-3
    """Rate of the bridge's own Adam (betas 0.9, 0.95, epsilon 1e-8), which rises and falls with the sparse
    model's but knows no sharkfin."""

    def validate(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"BridgeConfig.fraction is {self.fraction}; it must be in (0, 1]")
        for name in ("encode", "decode", "to_sparse", "to_dense", "mixture", "mixtures"):
            if getattr(self, name) < 0:
                raise ConfigError(f"BridgeConfig.{name} is {getattr(self, name)}; it must not be negative")
        if self.lr <= 0:
            raise ConfigError(f"BridgeConfig.lr is {self.lr}; it must be positive")


@dataclass(frozen=True, kw_only=True)
class NamedBridgeConfig(Config):
    """The same as a group of settings, so that a message calls one ``bridge.lr``."""

    bridge: BridgeConfig = BridgeConfig()
    """The bridge's."""
