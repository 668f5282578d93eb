"""JPEG files decoded on the GPU beside libjpeg-turbo: how far pixels and embeddings are apart, and files a second."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import torch
from measuring import median_ms
from numpy.typing import NDArray
from proving import Proof, Skipped, prove
from raw_onnxruntime import raw_session
from subjects import batch_size, graph_of, rendered

from reid.runtime.cuda import open_cuda
from reid.runtime.embedding import Embedded, embed
from reid.runtime.errors import SessionError
from reid.runtime.imaging import decode, read_frame, read_image, resize
from reid.runtime.self_check import SIMILARITY
from reid.runtime.sessions.device.nvimgcodec import JpegDecoder, open_decoder
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.session import Session
from reid.runtime.sessions.slots import DecodesOnDevice
from reid.runtime.tracklet import Tracklet

_SAMPLINGS = {"4:4:4": 0x111111, "4:2:2": 0x211111, "4:2:0": 0x221111, "4:4:0": 0x121111}
_QUALITIES = (75, 95)
_FILES, _FILES_EMBEDDED = 48, 512
_SIZES = {"150 x 110": (110, 150), "512 x 384": (384, 512)}
"""Height and width of the files whose rate is measured: crops as in VeRi-776, and large ones."""


def jpeg_decoding(proof: Proof) -> None:
    """Compare pixels, then embeddings, then rates; each part alone."""
    proof.needs_kernels()
    cuda = open_cuda(0)
    stream = cuda.stream()
    try:
        with cuda.current():
            decoder = open_decoder(0, stream)
    except SessionError as error:
        raise Skipped(str(error)) from None
    proof.note("decodes", decoder.name)
    crops = _crops(proof)
    for part in (_pixels, _embeddings, _rates):
        proof.attempt(part.__name__.strip("_"), part, proof, crops, decoder)
    decoder.close()


def _crops(proof: Proof) -> list[Path]:
    images = rendered(proof).gallery.images
    return [frame for image in images for frame in image.frames if isinstance(frame, Path)]


def _pixels(proof: Proof, crops: list[Path], decoder: JpegDecoder) -> None:
    """Note, for each sampling and quality, the largest and the mean difference, and the share of pixels that differ."""
    pictures = [read_frame(crop)[..., ::-1] for crop in crops[:_FILES]]
    worst = 0
    for sampling, factors in _SAMPLINGS.items():
        for quality in _QUALITIES:
            options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factors]
            files = [cv2.imencode(".jpg", picture, options)[1].tobytes() for picture in pictures]
            found = on_host(decoder, files)
            proof.check(f"{sampling} at {quality}: all are decoded", all(one is not None for one in found))
            apart = [
                _apart(one, decode(file, "a file")) for one, file in zip(found, files, strict=True) if one is not None
            ]
            worst = max(worst, *(int(one.max()) for one in apart))
            every = np.concatenate([one.ravel() for one in apart])
            facts = {"largest": int(every.max()), "mean": float(every.mean()), "above 1": float((every > 1).mean())}
            proof.note(f"{sampling} at quality {quality}: difference of 255", facts)
    proof.note("largest difference of 255", worst)


def _apart(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> NDArray[np.int16]:
    return np.abs(found.astype(np.int16) - expected)


def on_host(decoder: JpegDecoder, files: list[bytes]) -> list[NDArray[np.uint8] | None]:
    """Decode files, and return the pixels on the host; None for each that cannot be decoded."""
    images = decoder.decode(files)
    decoder.stream.synchronize()
    return [None if image is None else torch.as_tensor(image.owner, device="cuda").cpu().numpy() for image in images]


def _embeddings(proof: Proof, crops: list[Path], decoder: JpegDecoder) -> None:
    """Hold the embeddings of what the GPU has decoded to the self-check's limits; note how far tracklets are apart."""
    raw_session(graph_of(proof, "fp32"), proof.device)  # Skipped where the provider is missing
    tracklets = [Tracklet(crop.name, (crop,)) for crop in crops[:_FILES_EMBEDDED]]
    with load_onnxruntime(graph_of(proof, "fp32"), proof.device) as session:
        on_cpu, cpu_rate = _embedded(session, tracklets)
        if not isinstance(session, DecodesOnDevice):
            raise Skipped("there is nothing to drive CUDA with")
        session.decode_on_device()
        proof.note("embeds", str(session.info))
        on_gpu, gpu_rate = _embedded(session, tracklets)
    cosines = (on_cpu * on_gpu).sum(axis=1)
    least = float(cosines.min())
    proof.check(f"cosine similarity above {SIMILARITY['fp32']}", least > SIMILARITY["fp32"], least)
    proof.note("1 - cosine similarity, mean", float(1 - cosines.mean()))
    proof.note("frames/s from files, decoded by CPU and GPU", [cpu_rate, gpu_rate])


def _embedded(session: Session, tracklets: list[Tracklet]) -> tuple[NDArray[np.float32], float]:
    """Return the embeddings and the frames a second, after a batch to warm up."""
    entries: list[Embedded] = list(embed(session, tracklets[: session.limits.frames]))
    began = perf_counter()
    entries = list(embed(session, tracklets))
    rate = len(tracklets) / (perf_counter() - began)
    return np.stack([entry.embedding for entry in entries if entry.embedding is not None]), round(rate, 1)


def _rates(proof: Proof, crops: list[Path], decoder: JpegDecoder) -> None:
    """Note how many files a second are decoded, by the GPU in batches of one and of many, by one core, and by all."""
    picture = np.ascontiguousarray(decode(read_image(crops[0]), crops[0])[..., ::-1])
    full = batch_size(proof)
    for name, (height, width) in _SIZES.items():
        file = cv2.imencode(".jpg", resize(picture, height, width))[1].tobytes()
        on_gpu = {f"GPU, {count} at a time": _rate(decoder.decode, [file] * count) for count in (1, full, 4 * full)}
        cores = os.cpu_count() or 1
        on_cpu = {f"CPU, {count} cores": _rate(_decode_on, count, [file] * full) for count in (1, cores)}
        proof.note(f"{name}: files/s", {**on_gpu, **on_cpu})


def _decode_on(cores: int, files: list[bytes]) -> None:
    with ThreadPoolExecutor(cores) as threads:
        list(threads.map(decode, files, files))


def _rate(task: Callable[..., object], *arguments: Any) -> float:  # noqa: ANN401
    """Return how many files a second a task decodes, whose last argument they are."""
    return round(1e3 * len(arguments[-1]) / median_ms(functools.partial(task, *arguments), 8, 2), 1)


if __name__ == "__main__":
    prove(jpeg_decoding)
