"""The few tensor operations that the method stands on, each with one plain definition."""

from sparsecircuits.ops.abs_topk import abs_topk
from sparsecircuits.ops.attention import sink_attention
from sparsecircuits.ops.projection import keep_largest_

__all__ = ["abs_topk", "keep_largest_", "sink_attention"]
