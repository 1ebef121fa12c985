"""The networks that judge panoramas: LPIPS, and FID with its Inception.

Layer: learning. They are loaded once for any number of evaluations. Where weights are missing, a
note says so and the metric has no number.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from spidereye.errors import SpiderEyeError
from spidereye.inception import INPUT_SIZE, FIDInception
from spidereye.perceptual import LPIPS
from spidereye.weight_files import find


@dataclass(frozen=True)
class Judges:
    """What metrics need beside the pictures.

    lpips: LPIPS-AlexNet.   extractor: FID's features, [B, 3, H, W] of 8 bits to
    [B, num_features].   None: its weights are missing.   notes: on both, FID's first.
    """

    lpips: LPIPS | None
    extractor: nn.Module | None
    notes: tuple[str, str]

    @classmethod
    def load(cls, device: torch.device) -> "Judges":
        """Those whose weights are here, on a device."""
        extractor, fid_note = load_extractor()
        lpips, lpips_note = load_lpips()
        for network in (extractor, lpips):
            if network is not None:
                network.to(device)
        return cls(lpips, extractor, (fid_note, lpips_note))


class FIDs:
    """FID of several methods against one set of true pictures, whose features are taken once."""

    def __init__(self, extractor: nn.Module, methods: Iterable[str]):
        features = extractor.num_features
        assert isinstance(features, int)
        self.extractor = extractor
        self.fids = {name: FID(features) for name in methods}

    def update(
        self, truth: UInt8[Tensor, "B 3 H W"], made: Mapping[str, UInt8[Tensor, "B 3 H W"]]
    ) -> None:
        """Add pictures: the true ones and what each method made of them."""
        real = self._features(truth)
        for name, pictures in made.items():
            self.fids[name].update(real, real=True)
            self.fids[name].update(self._features(pictures), real=False)

    def compute(self) -> dict[str, float | None]:
        """By method, as `FID.compute`."""
        return {name: fid.compute() for name, fid in self.fids.items()}

    def _features(self, pictures: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B K"]:
        with torch.no_grad():
            return self.extractor(pictures)


class FID:
    """Fréchet Inception distance of two sets of features (Heusel et al. 2017) by torchmetrics."""

    def __init__(self, features: int):
        from torchmetrics.image.fid import FrechetInceptionDistance

        self.metric = FrechetInceptionDistance(feature=_AsGiven(features)).eval()
        # It learns this from its first update, which a process without samples never has.
        self.metric.orig_dtype = torch.float32

    def update(self, features: Float[Tensor, "B K"], real: bool) -> None:
        """Add to the set of the true pictures (real) or of the predicted ones."""
        self.metric.to(features.device)
        self.metric.update(features, real=real)

    def compute(self) -> float | None:
        """The distance over all processes, each of which must call this; None where a set has
        fewer than two pictures, whose spread nobody knows."""
        with self.metric.sync_context():
            real, made = (
                self.metric.real_features_num_samples,
                self.metric.fake_features_num_samples,
            )
            enough = min(int(real), int(made)) >= 2
        return float(self.metric.compute()) if enough else None


class _AsGiven(nn.Module):
    """What torchmetrics asks for features, where they are there already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return features


def load_extractor() -> tuple[nn.Module | None, str]:
    """FID's features by the published Inception, and a note on FID: extractor, resize rule and
    what N means, or why it is missing."""
    try:
        extractor = FIDInception.load()
    except SpiderEyeError as error:
        return None, f"FID: n/a; {error}"
    note = (
        f"FID: 2048 features of Inception v3 of 2015 ({find('inception').name}); N is the number "
        f"of panoramas, each resized whole to {INPUT_SIZE}x{INPUT_SIZE} by TensorFlow 1's bilinear "
        "rule; values of different N, or of N below some thousands, do not compare"
    )
    return extractor, note


def load_lpips() -> tuple[LPIPS | None, str]:
    """LPIPS-AlexNet for `picture_metrics`, and a note: what it is, or why it is missing."""
    try:
        return LPIPS.load("alex"), f"LPIPS: version 0.1 on AlexNet ({find('alexnet').name})"
    except SpiderEyeError as error:
        return None, f"LPIPS: n/a; {error}"
