"""The few tensor operations that the method stands on: one definition each, and kernels that agree.

The kernels give first derivatives; for second ones, or ``torch.func``, run the definitions
(``native.using("off")``).
"""

from sparsecircuits.ops.abs_topk import abs_topk
from sparsecircuits.ops.attention import end_attention, sink_attention
from sparsecircuits.ops.elementwise import gelu, gelu_abs_topk, rms_norm, rms_norm_abs_topk
from sparsecircuits.ops.linear import Pattern, sparse_linear
from sparsecircuits.ops.loss import bigram_cross_entropy
from sparsecircuits.ops.mix import mix
from sparsecircuits.ops.projection import keep_largest_, keep_largest_all_

__all__ = [
    "Pattern",
    "abs_topk",
    "bigram_cross_entropy",
    "end_attention",
    "gelu",
    "gelu_abs_topk",
    "keep_largest_",
    "keep_largest_all_",
    "mix",
    "rms_norm",
    "rms_norm_abs_topk",
    "sink_attention",
    "sparse_linear",
]
