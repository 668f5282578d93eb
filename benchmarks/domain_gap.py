"""How far apart two data sets are: how well a linear classifier tells their images apart, and how well each is ranked.

The features are those of a backbone, averaged over all places, so that nothing is trained but the classifier: ridge
regression on whether an image is of the first or the second set, with all features scaled to unit variance. Vehicles
and cameras are each halved, and it is judged on images of vehicles *and* cameras that it has not seen: 50 % is chance.
Cameras are all that differs between two halves of one set, so the same classifier between these is the reference::

    python benchmarks/domain_gap.py PLAIN VARIED --weights FILE --json benchmarks/results/domain_gap.json

One image of each track counts, of training and test vehicles alike; an accuracy is the mean over ways of halving, with
their standard deviation. I2I mAP of the features alone says how hard each set is before any training; `--run RUN` adds
the mAP of a trained model, which must not know the vehicles of either set.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from result_files import command, environment, markdown_table, script_parser, write_result

from reid.data.dataset import Dataset
from reid.data.layout import read_dataset
from reid.evaluation.metrics import Labels, evaluate
from reid.evaluation.protocols import PROTOCOLS, embed_data, evaluate_protocol
from reid.runtime.galleries.ranking import distance_rows
from reid.runtime.imaging import read_frame, resize
from reid.runtime.normalization import normalize
from reid.runtime.opening import open_session
from reid.runtime.tracklet import Tracklet
from reid.train.model.foreign_weights import load_weights

HALVINGS = 20
BATCH = 64


@dataclass(frozen=True)
class Sample:
    """Images to tell apart: features [n, D], and of each image the number of its vehicle and of its camera, [n]."""

    features: NDArray[np.float32]
    vehicles: NDArray[np.int64]
    cameras: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_]) -> Sample:
        """Return the chosen images."""
        return Sample(self.features[chosen], self.vehicles[chosen], self.cameras[chosen])


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of a classifier, in percent: mean and standard deviation over ways of halving."""

    mean: float
    deviation: float

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.deviation:.1f}"


def main() -> None:
    """Embed both sets, tell them apart, rank them, print the tables and write the result."""
    options = parse()
    sets = {path.name: read_dataset(path) for path in options.data}
    embed = Backbone(options.backbone, options.weights, options.image_size)
    samples = {name: sample_of(data, embed) for name, data in sets.items()}
    first, second = samples.values()
    gaps = {" and ".join(samples): told_apart(first, second)}
    gaps |= {f"two halves of {name}'s cameras": halves_told_apart(one) for name, one in samples.items()}
    maps = {name: {"features": features_map(data, embed)} for name, data in sets.items()}
    if options.run:
        for name, data in sets.items():
            maps[name]["run"] = run_map(data, options.run)
    sizes = {name: [len(np.unique(one.vehicles)), len(one.vehicles)] for name, one in samples.items()}
    text = f"`{command()}`: {describe(sizes)}.\n\n{tables(gaps, maps)}"
    print(text, end="")
    if options.json:
        facts = {"command": command(), "environment": environment(), "vehicles_and_images": sizes}
        facts |= {"accuracy": {name: asdict(one) for name, one in gaps.items()}, "i2i_map": maps}
        write_result(options.json, facts, text)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("data", type=Path, nargs=2, metavar="DATA", help="a data set; there are two")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="weights of the backbone")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="timm's name [default: %(default)s]")
    parser.add_argument("--image-size", type=int, default=128, help="[default: %(default)s]")
    parser.add_argument("--run", type=Path, metavar="RUN", help="a trained model, to rank both sets by")
    return parser.parse_args()


class Backbone:
    """A timm model that embeds images, without gradients and without a head."""

    def __init__(self, name: str, weights: Path, image_size: int) -> None:
        self._model = timm.create_model(name, pretrained=False, num_classes=0).eval()
        load_weights(self._model, weights, unused=frozenset())
        self._size = image_size
        config = self._model.pretrained_cfg
        self._mean, self._deviation = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))

    @torch.inference_mode()
    def __call__(self, tracklets: Sequence[Tracklet]) -> NDArray[np.float32]:
        """Return the features of the middle frames of tracklets, float32 [n, D]."""
        parts = []
        for start in range(0, len(tracklets), BATCH):
            frames = [one.frames[len(one.frames) // 2] for one in tracklets[start : start + BATCH]]
            pixels = np.stack([resize(read_frame(frame), self._size, self._size) for frame in frames])
            batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
            parts.append(self._model((batch - self._mean) / self._deviation).numpy())
        return np.concatenate(parts)


def sample_of(data: Dataset, embed: Backbone) -> Sample:
    """Embed an image of each track of a data set's training and test vehicles."""
    tracklets = [*data.train.tracklets, *data.gallery.tracklets]
    numbers = [np.unique([key(one) for one in tracklets], return_inverse=True)[1] for key in (_vehicle, _camera)]
    return Sample(embed(tracklets), *numbers)


def _vehicle(tracklet: Tracklet) -> str:
    return str(tracklet.vehicle)


def _camera(tracklet: Tracklet) -> str:
    return str(tracklet.camera)


def told_apart(first: Sample, second: Sample) -> Accuracy:
    """Return how well images of two sets that share neither vehicles nor cameras are told apart."""
    return summarize([accuracy(first, second, np.random.default_rng(seed)) for seed in range(HALVINGS)])


def halves_told_apart(sample: Sample) -> Accuracy:
    """Return how well images of one half of a set's cameras, drawn anew each time, are told from those of the other."""
    found = []
    for seed in range(HALVINGS):
        rng = np.random.default_rng([seed, 1])
        side = halved(sample.cameras, rng)
        found.append(accuracy(sample.where(side), sample.where(~side), rng))
    return summarize(found)


def summarize(values: Sequence[float]) -> Accuracy:
    """Return mean and standard deviation, in percent."""
    return Accuracy(100 * statistics.fmean(values), 100 * statistics.stdev(values))


def accuracy(first: Sample, second: Sample, rng: np.random.Generator) -> float:
    """Return the accuracy, both sets counting alike, on halves of vehicles and cameras that are held out in turn."""
    splits = [(halved(one.vehicles, rng), halved(one.cameras, rng)) for one in (first, second)]
    scores = []
    for vehicles, cameras in product((True, False), repeat=2):
        held_out = [(v == vehicles) & (c == cameras) for v, c in splits]
        known = [(v != vehicles) & (c != cameras) for v, c in splits]
        classify = Classifier(first.features[known[0]], second.features[known[1]])
        scores.append((classify(first.features[held_out[0]]) > 0).mean())
        scores.append((classify(second.features[held_out[1]]) < 0).mean())
    return statistics.fmean(scores)


def halved(numbers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which of `numbers` are in one half of the distinct ones, drawn at random."""
    distinct = rng.permutation(np.unique(numbers))
    return np.isin(numbers, distinct[: len(distinct) // 2])


class Classifier:
    """Ridge regression on 1 for the first set and -1 for the second, each with half of the weight; in the dual form."""

    def __init__(self, first: NDArray[np.float32], second: NDArray[np.float32]) -> None:
        features = np.concatenate([first, second]).astype(np.float64)
        self._mean, self._scale = features.mean(axis=0), features.std(axis=0) + 1e-6
        weights = np.concatenate([np.full(len(one), 0.5 / len(one)) for one in (first, second)])
        target = np.repeat([1.0, -1.0], [len(first), len(second)])
        scaled = (features - self._mean) / self._scale
        self._offset = weights @ scaled
        centered = scaled - self._offset
        # Each row has about D in the kernel's diagonal, so D is a penalty as large as one image.
        kernel = centered @ centered.T + np.diag(features.shape[1] / (len(target) * weights))
        self._slope = centered.T @ np.linalg.solve(kernel, target)

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return a positive number for images of the first set, a negative one for others."""
        return np.asarray(((features - self._mean) / self._scale - self._offset) @ self._slope)


def features_map(data: Dataset, embed: Backbone) -> float:
    """Return I2I mAP of the features as they are, by cosine similarity."""
    sides = data.query.images, data.gallery.images
    query, gallery = (normalize(embed(side)) for side in sides)
    labels = [Labels([one.vehicle for one in side], [one.camera for one in side]) for side in sides]
    return float(evaluate(distance_rows(query, gallery), *labels).summary()["mAP"])


def run_map(data: Dataset, run: Path) -> float:
    """Return I2I mAP of a trained model."""
    with open_session(run, "torch") as session:
        embedded = embed_data(session, data.query, data.gallery)
    return float(evaluate_protocol(embedded, PROTOCOLS["i2i"]).summary()["mAP"])


def describe(sizes: dict[str, list[int]]) -> str:
    """Return how many vehicles and images of each set were told apart."""
    return "; ".join(f"{name}: {vehicles} vehicles, {images} images" for name, (vehicles, images) in sizes.items())


def tables(gaps: dict[str, Accuracy], maps: dict[str, dict[str, float]]) -> str:
    """Return both tables."""
    apart = markdown_table(["told apart", "accuracy, %"], [[name, str(one)] for name, one in gaps.items()])
    kinds = list(next(iter(maps.values())))
    rows = [[name, *(f"{found[kind]:.2f}" for kind in kinds)] for name, found in maps.items()]
    return f"{apart}\n{markdown_table(['I2I mAP', *kinds], rows)}"


if __name__ == "__main__":
    main()
