"""A program: how far FlexAttention's form of local attention is from the blocked one, as JSON.

By itself, because the shape checks of the tests are wrapped round every function, and FlexAttention
cannot trace those. Its kernels are for GPUs; here its plain definition runs, forwards only.
"""

import json
import warnings

import torch

from spidereye import flex_windows
from spidereye.attention import REACH, LocalAttention

CASES = (
    ("zeros", 4, 8), ("zeros", 16, 32), ("zeros", 17, 21),
    ("sphere", 15, 30), ("sphere", 16, 32), ("sphere", 21, 44),
)  # fmt: skip
warnings.simplefilter("ignore")  # of what it would gain by being compiled
found = []
for padding, *size in CASES:
    torch.manual_seed(0)
    layer = LocalAttention(32, 2, padding).requires_grad_(False)
    torch.nn.init.normal_(layer.relative_bias)
    x = torch.randn(2, *size, 32)
    parts = [to(x).unflatten(-1, (2, -1)) for to in (layer.to_q, layer.to_k, layer.to_v)]
    made = layer.to_out(flex_windows.attend(*parts, layer.relative_bias, padding).flatten(-2))
    blocked = layer(x)
    found.append([float((made - blocked).abs().max()), float(blocked.std())])
tiles = flex_windows._tiles(64, 128, REACH, "sphere", "cpu")
same = tiles is flex_windows._tiles(64, 128, REACH, "sphere", "cpu")
placed = torch.equal(tiles.order[tiles.place], torch.arange(64 * 128))
print(json.dumps({"forms": found, "kept": same, "placed": placed, "sparse": tiles.mask.sparsity()}))
