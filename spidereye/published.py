"""Names of the published SSDD networks, and of their multi-view fork, as ours.

A published file is flat: `encoder.*`, `decoder.*`. A training state of the fork has the same names
under `base_ssdd.` plus `fusion.*`; with its EMA wrapper all of them twice, under `model.` (raw) and
`ema.ema_model.` (average).
"""

import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from spidereye.errors import SpiderEyeError

WRAPPERS = {"raw": "model.", "ema": "ema.ema_model."}

# Applied in order to a published name without its network's prefix, each to the last one's result.
ENCODER_RULES = (
    (r"^down\.(\d+)\.block\.(\d+)\.", r"levels.\1.\2."),
    (r"^down\.(\d+)\.downsample\.", r"levels.\1.2."),
    (r"^mid\.block_1\.", "middle.0."),
    (r"^mid\.attn_1\.", "middle.1."),
    (r"^mid\.block_2\.", "middle.2."),
    (r"\.proj_out\.", ".out."),
    (r"\.nin_shortcut\.", ".shortcut."),
    (r"^out_proj\.", "project_out."),
)
DECODER_RULES = (
    (r"^ada_ctx_proj\.", "context."),
    (r"\.norm1\.ctx_proj\.", ".modulation1."),
    (r"\.time_emb_proj\.", ".modulation2."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"^mid_block\.transformer_blocks\.(\d+)\.", r"middle.blocks.\1."),
    (r"^mid_block\.proj_", "middle.linear_"),
    (r"^mid_block\.", "middle."),
    (r"\.norm1\.linear\.", ".modulation."),
    (r"\.attn1\.out_proj\.", ".attention.to_out."),
    (r"\.attn1\.", ".attention."),
    (r"\.relative_position_bias\.relative_bias_table$", ".attention.relative_bias"),
    (r"\.ff\.proj_in_act\.proj\.", ".feed_forward.linear_in."),
    (r"\.ff\.proj_out\.", ".feed_forward.linear_out."),
    (r"^conv_norm_out\.", "norm_out."),
)
FUSION_RULES = (
    (r"^view_encoding\.view_embeddings$", "encoding.embeddings"),
    (r"^view_encoding\.direction_proj\.", "encoding.project."),
    (r"^view_encoding\.directions$", "encoding.directions"),
    (r"^fusion_conv\.", "mix."),
    (r"^aspect_adjust\.1\.", "widen.conv."),
    (r"^aspect_adjust\.2\.", "widen.norm."),
)


def our_encoder_name(name: str) -> str:
    """An encoder parameter's published name, without `encoder.`, as ours."""
    return _rename(name, ENCODER_RULES)


def our_decoder_name(name: str) -> str:
    """A decoder parameter's published name, without `decoder.`, as ours."""
    # Ours are flat lists: two blocks and a stride-2 conv a level down, three and an upsampling up.
    for side, kinds, per_level in (("down", "downsamplers", 3), ("up", "upsamplers", 4)):
        match = re.match(rf"{side}_blocks\.(\d+)\.(resnets|{kinds})\.(\d+)\.", name)
        if match:
            place = int(match[3]) if match[2] == "resnets" else per_level - 1
            name = f"{side}.{int(match[1]) * per_level + place}." + name[match.end() :]
    return _rename(name, DECODER_RULES)


def our_fusion_name(name: str) -> str:
    """A fusion parameter's published name, without `fusion.`, as ours."""
    return _rename(name, FUSION_RULES)


def is_published(names: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is of the published family or of the multi-view fork."""
    markers = ("encoder.down.", "decoder.up_blocks.")
    return any(marker in name for name in names for marker in markers)


def from_published(
    state: Mapping[str, Tensor], weights: Literal["ema", "raw"] = "ema"
) -> dict[str, Tensor]:
    """A published or forked state dict under our names.

    weights: which copy to take where the file holds both; a file with one copy gives that.
    Raises SpiderEyeError naming the first name that belongs to none of the networks.
    """
    wrapped = any(name.startswith(tuple(WRAPPERS.values())) for name in state)
    ours: dict[str, Tensor] = {}
    renamers = {
        "encoder": our_encoder_name,
        "decoder": our_decoder_name,
        "fusion": our_fusion_name,
    }
    for published, tensor in state.items():
        name = published
        if wrapped:
            if not name.startswith(WRAPPERS[weights]):
                continue
            name = name.removeprefix(WRAPPERS[weights])
        network, _, rest = name.removeprefix("base_ssdd.").partition(".")
        if network not in renamers:
            raise SpiderEyeError(
                f"unexpected parameter {published!r} in a published checkpoint: expected names "
                "under encoder., decoder. or fusion."
            )
        ours[f"{network}.{renamers[network](rest)}"] = tensor
    if not ours:
        raise SpiderEyeError(
            f"the checkpoint holds no {weights} weights (names under {WRAPPERS[weights]!r}); "
            f"set ssdd.weights={'raw' if weights == 'ema' else 'ema'}"
        )
    return ours


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
