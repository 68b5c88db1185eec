"""Video colorization: from which place of earlier frames does each place of this one take its colour?

Vondrick, Shrivastava, Fathi, Guadarrama & Murphy, "Tracking Emerges by Colorizing Videos", ECCV 2018,
https://arxiv.org/abs/1806.09594. Of four grey frames, a sixth of a second apart, each place of a map has an embedding
of 64 numbers. Each place of the fourth frame gets the mean of the colours of all places of the three frames before it,
weighted by a softmax of inner products of embeddings (equations 1 and 2), and the loss is the cross-entropy with its
own colour. Nothing can be known of a colour but where it comes from. Colours are the a and b of CIELAB in 16 clusters
of k-means. Upon the encoder's maps, beside which each place knows where it is, five layers look about in space and
time; they stay with the method.

The encoder sees a frame's lightness as a grey RGB picture, normalised as at evaluation, and each frame alone: so it
remains a plain encoder of colour pictures.

Deviations. Colours are clustered in the run, not beforehand: by k-means of those of the first batch, and each later
batch moves each cluster to the mean of all colours that it was given (MacQueen's k-means). No weights belong to a
cluster, so that it may move. The paper changes the strides of a ResNet-18 for maps of an eighth of the picture's
size; an encoder keeps its own here, and a convolutional decoder reads its feature and maps down to that size. The
paper's text gives the number of layers upon it; that each is a convolution over space and one over time, the former
with more dilation each, is what others made of it. A place whose colour no earlier frame has (its cross-entropy would
be infinite) is not asked for. Clips are cropped at random and mirrored, for data sets smaller than the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslzoo.config import SMALL, PretrainConfig, UsageError
from sslzoo.encoders import InputSpec, spec_of, takes_clips
from sslzoo.method import Batch, MethodInfo, Paper, PretextMethod, Sample, Views
from sslzoo.nn.color_bins import gamut_bins, require_rgb
from sslzoo.nn.decoders import Decoder, Size, encode_maps, map_shapes
from sslzoo.nn.gather import gather
from sslzoo.nn.kmeans import kmeans, nearest
from sslzoo.nn.precision import in_float32
from sslzoo.views import draw_for
from sslzoo.views.clips import ClipSampling, clip_random_resized_crop
from sslzoo.views.color import normalize, to_float
from sslzoo.views.lab import lab_to_rgb, only_lightness, paled, rgb_to_lab

FRAMES = 4
"""Three to copy from, and one to colour."""
DILATIONS = (1, 2, 4, 8, 16)
"""Of the layers upon maps of 32 x 32; at most half a smaller map's side."""


@dataclass(frozen=True)
class VideoColorizationConfig:
    rate: float = 6.0
    """Frames per second, where a video's rate is known; else its own frames are taken."""
    stride: int = 8
    """Pixels of the picture, across and down, to a place that gets one colour."""
    clusters: int = 16
    """Colours."""
    embedding_dim: int = 64
    """Length of an embedding."""
    head_dim: int = 256
    """Channels of the layers upon the encoder's maps."""
    decoder_dim: int = 512
    """Channels of the decoder where it begins; each stage has half as many."""
    min_scale: float = 0.5
    """Smallest crop, as a share of the frame's area."""


class GreyFrames(Views):
    """A crop of four frames, perhaps mirrored: their grey pictures, normalised, and ``lab`` (B, 4, 3, H, W)."""

    def __init__(self, config: VideoColorizationConfig, spec: InputSpec) -> None:
        self.config, self.spec = config, spec
        self.sampling = ClipSampling(FRAMES, rate=config.rate)

    def crop(self, samples: list[Sample]) -> Batch:
        clips, scale = [sample["clip"] for sample in samples], (self.config.min_scale, 1.0)
        return {"clip": clip_random_resized_crop(clips, self.spec.size[1:], draw_for(samples).at("crop"), scale)}

    def augment(self, batch: Batch) -> Batch:
        lab = rgb_to_lab(to_float(batch.pop("clip").flatten(0, 1)))
        grey = normalize(only_lightness(lab), self.spec.mean, self.spec.std, inplace=True)
        batch["lab"] = lab.unflatten(0, (-1, FRAMES))
        batch["views"] = list(grey.unflatten(0, (-1, FRAMES)).unbind(1))
        return batch


class ColorClusters(nn.Module):
    """Clusters of the colours of a run; before its first batch, of all colours that sRGB has."""

    centroids: Tensor
    """(K, 2): a and b."""
    counts: Tensor
    """(K,): colours that each was given."""

    def __init__(self, clusters: int) -> None:
        super().__init__()
        self.register_buffer("centroids", _clustered(gamut_bins(), clusters))
        self.register_buffer("counts", torch.zeros(clusters, dtype=torch.long))

    @torch.no_grad()
    def add(self, colors: Tensor) -> None:
        """Learn of colours (N, 2), as many on all processes, which must call this together."""
        colors = gather(colors)
        if not self.counts.any():
            self.centroids.copy_(_clustered(colors, len(self.centroids)))
        labels = nearest(colors, self.centroids)
        new = labels.bincount(minlength=len(self.counts))
        self.counts += new
        total = torch.zeros_like(self.centroids).index_add_(0, labels, colors)
        self.centroids += (total - new[:, None] * self.centroids) / self.counts.clamp(min=1)[:, None]

    def forward(self, ab: Tensor) -> Tensor:
        """The clusters (..., H, W) of colours (..., 2, H, W)."""
        colors = ab.movedim(-3, -1)
        return nearest(colors.flatten(0, -2), self.centroids).view(colors.shape[:-1])


def _clustered(colors: Tensor, clusters: int) -> Tensor:
    """Centroids that are a function of the colours (N, 2) alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return kmeans(colors, clusters)[0]


class Embedding(nn.Module):
    """Maps of a clip's frames (B, C, T, H, W) to embeddings (B, T, H, W, D) that know of place, surroundings and time.

    Five times a convolution over space and one over time, then a linear layer.
    """

    places: Tensor

    def __init__(self, channels: int, size: Size, width: int, dim: int) -> None:
        super().__init__()
        down, across = (torch.linspace(-1, 1, side) for side in size)
        self.register_buffer("places", torch.stack(torch.meshgrid(down, across, indexing="ij")), persistent=False)
        layers: list[nn.Module] = []
        for narrow, most in zip((channels + 2, *[width] * 4), DILATIONS, strict=True):
            apart = max(1, min(most, min(size) // 2))
            layers += [
                nn.Conv3d(narrow, width, (1, 3, 3), padding=(0, apart, apart), dilation=(1, apart, apart), bias=False),
                nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0), bias=False),
                nn.BatchNorm3d(width),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv3d(width, dim, 1))

    def forward(self, maps: Tensor) -> Tensor:
        places = self.places[:, None].expand(len(maps), -1, maps.shape[2], -1, -1)
        return self.layers(torch.cat([maps, places.to(maps.dtype)], dim=1)).movedim(1, -1)


@in_float32
def copied(targets: Tensor, references: Tensor, colors: Tensor) -> Tensor:
    """Colours (B, N, K) for places of embeddings ``targets`` (B, N, D): equations 1 and 2.

    They are the means of the ``colors`` (B, M, K) of places of embeddings ``references`` (B, M, D), weighted by the
    softmax over these of the inner products.
    """
    return F.scaled_dot_product_attention(targets, references, colors, scale=1.0)


@in_float32
def copying_loss(colors: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """The cross-entropy of colours (B, N, K) and labels (B, N), 0 where they are not ``known`` (B, N): the mean."""
    share = colors.gather(2, labels[..., None]).squeeze(2)
    return -(share.clamp(min=torch.finfo(share.dtype).tiny).log() * known).mean()


class VideoColorization(PretextMethod):
    info = MethodInfo(
        name="video_colorization",
        category="generation",
        family="video-colorization",
        modalities=("clip",),
        paper=Paper(
            authors="Vondrick, Shrivastava, Fathi, Guadarrama & Murphy",
            title="Tracking Emerges by Colorizing Videos",
            venue="ECCV",
            year=2018,
            url="https://arxiv.org/abs/1806.09594",
        ),
        summary="Colour a grey frame of a video by pointing at places of earlier frames.",
    )
    Config = VideoColorizationConfig
    # 400 thousand steps of 32 clips, Adam at 1e-3 and after 60 thousand steps at 1e-4. Of the 300 thousand videos of
    # Kinetics that makes 43 epochs.
    defaults = PretrainConfig(
        dataset="world",
        encoder="resnet18",
        image_size=256,
        epochs=43,
        batch_size=32,
        optimizer="adam",
        lr=1e-3,
        momentum=0.9,
        weight_decay=0.0,
        schedule="step",
        milestones=(0.15,),
    )
    recipes = {"small": {**SMALL, "batch_size": 16, "stride": 4, "head_dim": 64, "decoder_dim": 128}}

    @staticmethod
    def views(config: VideoColorizationConfig, spec: InputSpec) -> Views:
        return GreyFrames(config, spec)

    def __init__(self, encoder: nn.Module, config: VideoColorizationConfig) -> None:
        super().__init__(encoder, config)
        if takes_clips(encoder):
            raise UsageError(
                "video_colorization encodes each frame alone: choose an encoder of pictures, such as resnet18"
            )
        require_rgb(encoder)
        _, height, width = spec_of(encoder).input.size
        if not 1 <= config.stride <= min(height, width) or not 1 <= config.clusters <= len(gamut_bins()):
            raise UsageError(
                f"a stride is up to the picture's side, and clusters are 1 to {len(gamut_bins())}: not {config}"
            )
        self.size = (height // config.stride, width // config.stride)
        maps = map_shapes(encoder)
        self.maps = [shape for shape in maps if shape.size[0] <= self.size[0]] or maps[:1]
        self.decoder = Decoder(self.feature_dim, self.maps, self.size, config.head_dim, config.decoder_dim)
        self.embedding = Embedding(config.head_dim, self.size, config.head_dim, config.embedding_dim)
        self.clusters = ColorClusters(config.clusters)

    def embed(self, frames: Tensor) -> Tensor:
        """Embeddings (B, T, H, W, D) of grey frames (B, T, C, H, W)."""
        maps = self.decoder(*encode_maps(self.encoder, frames.flatten(0, 1), self.maps))
        return self.embedding(maps.unflatten(0, frames.shape[:2]).transpose(1, 2))

    def colored(self, batch: Batch, labels: Tensor) -> Tensor:
        """Colours (B, H * W, K) of the last frames, copied from the others, whose clusters are (B, 3, H, W)."""
        embedded = self.embed(torch.stack(batch["views"], dim=1))
        colors = F.one_hot(labels, len(self.clusters.centroids)).float()
        return copied(embedded[:, -1].flatten(1, 2), embedded[:, :-1].flatten(1, 3), colors.flatten(1, 3))

    def small_colors(self, lab: Tensor) -> Tensor:
        """The colours of (B, T, 3, H, W) that are asked for: (B, T, 2, h, w), each the mean of its pixels'."""
        return F.adaptive_avg_pool2d(lab[:, :, 1:].flatten(0, 1), self.size).unflatten(0, lab.shape[:2])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        ab = self.small_colors(batch["lab"])
        with torch.autocast(ab.device.type, enabled=False):
            if self.training:
                self.clusters.add(ab.movedim(2, -1).flatten(0, -2))
            labels = self.clusters(ab)
        colors = self.colored(batch, labels[:, :-1])
        given, wanted = labels[:, :-1].flatten(1), labels[:, -1].flatten(1)
        known = F.one_hot(given, colors.shape[2]).any(dim=1).gather(1, wanted)
        return {
            "loss": copying_loss(colors, wanted, known),
            "accuracy": (colors.argmax(2) == wanted).float().mean(),
            "accuracy_unmoved": (labels[:, -2].flatten(1) == wanted).float().mean(),
        }

    def illustrate(self, batch: Batch) -> dict[str, Tensor]:
        """The frame before, what the encoder sees of the last one, that with the colours it copies, and as it was."""
        before, lab = batch["lab"][:, -2], batch["lab"][:, -1]
        labels = self.clusters(self.small_colors(batch["lab"][:, :-1]))
        ab = (self.colored(batch, labels) @ self.clusters.centroids).transpose(1, 2).unflatten(2, self.size)
        ab = F.interpolate(ab, size=lab.shape[2:], mode="bilinear")
        return {
            "earlier frame": lab_to_rgb(before),
            "grey frame": only_lightness(lab),
            "with copied colours": lab_to_rgb(paled(torch.cat([lab[:, :1], ab], dim=1))),
            "original": lab_to_rgb(lab),
        }
