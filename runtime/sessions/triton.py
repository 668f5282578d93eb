"""NVIDIA's Triton Inference Server: a model that it serves, over gRPC, checked against a bundle as every other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.bundle import Bundle
from reid.runtime.errors import ReidError, SessionError
from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES, POOLED, POOLING
from reid.runtime.installs import how_to_install
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.opened import Opened, Reference
from reid.runtime.sessions.session import SessionInfo
from reid.runtime.sessions.signature import Array, check_signature
from reid.runtime.text import printable

__all__ = ["open_triton"]

_ADDRESS = "localhost:8001"
_DEVICE = re.compile(r"([^/\s]+:[0-9]{1,5})?(?:/([\w.-]{1,255}))?(?:/([1-9][0-9]{0,8}))?", re.ASCII)
"""HOST:PORT/MODEL/VERSION, each of which may be left out from the right, or the address from the left."""

_OPENING_S, _ANSWER_S = 10.0, 60.0
"""How long a question about the server, and a batch, may take."""

_AT_ONCE = 3
"""Requests in flight: one travels while one is computed and one travels back."""

_DTYPES = {"UINT8": "uint8", "FP32": "float32", "FP16": "float16"}


def open_triton(model: Path, device: str | None, precision: Precision) -> Opened:
    """Open what a server has of a bundle.

    Args:
        model: the bundle, whose card and reference crops the server's answers are checked against.
        device: "HOST:PORT/MODEL/VERSION"; None for localhost:8001, `reid_tracklets_<precision>`, and its only version.
        precision: the precision of the bundle's graph that the server is said to run.

    Raises:
        ModelError: the bundle is damaged or has no such precision, or the model takes or returns other arrays.
        SessionError: no bundle, tritonclient is missing, or the server cannot be reached, is not ready, or has no such
            model or version.
    """
    if not model.is_dir():
        raise SessionError(f"{model} is no bundle, which a server's answers are checked against; give the bundle")
    bundle = Bundle.open(model)
    bundle.graph(precision)  # refuses a precision that the bundle does not have
    found = _DEVICE.fullmatch(device or "")
    if not found:
        raise SessionError(f"Triton has no device {device!r}; write triton:HOST:PORT/MODEL/VERSION")
    name = found[2] or f"reid_tracklets_{precision}"
    stated = next((one for one in PRECISIONS if name.endswith(f"_{one}")), precision)
    if stated != precision:  # the self-check cannot tell FP16 from FP32
        raise SessionError(f"{name} is in {stated} by its name, not in {precision}; add --precision {stated}")
    served = _Server.connect(found[1] or _ADDRESS).find(name, found[3])
    check_signature(served.inputs, served.outputs, bundle.card, served.place)
    info = SessionInfo("triton", served.server.version, str(served.place), precision, bundle.card)
    session = HostSession(info, served.infer, source=str(served.place), at_once=_AT_ONCE)
    remedy = "the server runs another model or precision: give the right one as triton:HOST:PORT/MODEL/VERSION"
    return Opened(session, Reference(bundle, "", remedy, lasting=False))


@dataclass(frozen=True, slots=True)
class _Server:
    """A server that is ready.

    Attributes:
        address: HOST:PORT.
        client: tritonclient's, which closes its connection when nothing refers to it any more.
        grpc: the package `tritonclient.grpc`.
        version: the server's version.
    """

    address: str
    client: Any
    grpc: Any
    version: str

    @classmethod
    def connect(cls, address: str) -> _Server:
        try:
            from tritonclient import grpc
        except ImportError as error:
            raise SessionError(f"tritonclient is not installed ({error}): {how_to_install('tritonclient')}") from None
        client = grpc.InferenceServerClient(address)
        try:
            ready = client.is_server_ready(client_timeout=_OPENING_S)
            version = client.get_server_metadata(client_timeout=_OPENING_S).version if ready else ""
        except grpc.InferenceServerException as error:
            raise _failure(address, error) from None
        if not ready:
            raise SessionError(f"{address}: Triton is not ready, it loads models or ends; try again, or see its log")
        return cls(address, client, grpc, printable(version)[:40])

    def find(self, name: str, version: str | None) -> _Served:
        """Return a model in a version, or in the only one there is."""
        try:
            known = self.client.get_model_metadata(name, version or "", client_timeout=_OPENING_S)
        except self.grpc.InferenceServerException as error:
            if "UNAVAILABLE" in str(error.status()) or "NOT_FOUND" in str(error.status()):
                wanted = f"version {version} of {name}" if version else name
                raise SessionError(
                    f"{self.address} has no {wanted} that is ready ({_reason(error)}); give another as "
                    "triton:HOST:PORT/MODEL/VERSION, or write it: reid-export BUNDLE --triton REPO"
                ) from None
            raise _failure(f"{self.address}/{name}", error) from None
        if version is None:
            if len(known.versions) != 1:
                listed = ", ".join(known.versions) or "none"
                raise SessionError(
                    f"{self.address}/{name} is served in the versions {listed}, whose embeddings must not be mixed; "
                    f"choose one, as in triton:{self.address}/{name}/VERSION"
                )
            version = known.versions[0]
        inputs, outputs = _arrays(known.inputs), _arrays(known.outputs)
        pools = POOLING in inputs
        if not pools:  # reid_frames_*: pooling is done here
            inputs[POOLING] = Array("float32", (None, None))
            outputs.setdefault(POOLED, outputs.get(FRAME_EMBEDDING, Array("absent", None)))
        return _Served(self, name, version, inputs, outputs, pools)


@dataclass(frozen=True, slots=True)
class _Served:
    """A version of a model on a server, with what it takes and returns; `pools` tells whether it takes `pooling`."""

    server: _Server
    name: str
    version: str
    inputs: dict[str, Array]
    outputs: dict[str, Array]
    pools: bool

    @property
    def place(self) -> Path:
        """What messages call it."""
        return Path(printable(f"{self.server.address}/{self.name}/{self.version}"))

    def infer(
        self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Send a batch, and wait for its embeddings. Raises SessionError where there is no answer that makes sense."""
        grpc = self.server.grpc
        arrays = {FRAMES: (frames, "UINT8")} | ({POOLING: (pooling, "FP32")} if self.pools else {})
        inputs = []
        for name, (array, kind) in arrays.items():
            inputs.append(grpc.InferInput(name, array.shape, kind))
            inputs[-1].set_data_from_numpy(np.ascontiguousarray(array))
        try:
            answer = self.server.client.infer(self.name, inputs, self.version, client_timeout=_ANSWER_S)
        except grpc.InferenceServerException as error:
            raise _failure(self.place, error) from None
        answered = answer.get_response().model_version
        if answered != self.version:
            raise SessionError(f"{self.place}: the answer is of version {answered[:20]!r}; restart the server")
        embedding = self._result(answer, FRAME_EMBEDDING)
        return embedding, self._result(answer, POOLED) if self.pools else pooling @ embedding

    def _result(self, answer: Any, name: str) -> NDArray[np.float32]:  # noqa: ANN401 - tritonclient's types are not checked
        try:
            array = answer.as_numpy(name)
        except Exception as error:  # it trusts the server's sizes and types
            raise SessionError(f"{self.place}: the answer's {name} is damaged ({error}); restart the server") from None
        if array is None or array.dtype != np.float32:
            what = "missing" if array is None else f"{array.dtype}, not float32"
            raise SessionError(f"{self.place}: the answer's {name} is {what}; restart the server")
        return np.array(array)  # it is a view of the message


def _arrays(tensors: Any) -> dict[str, Array]:  # noqa: ANN401
    """Return what a server says of a model's inputs or outputs."""
    return {
        tensor.name: Array(
            _DTYPES.get(tensor.datatype, tensor.datatype), tuple(None if size < 0 else size for size in tensor.shape)
        )
        for tensor in tensors
    }


def _failure(place: object, error: Any) -> ReidError:  # noqa: ANN401
    """Return the error for a request that failed."""
    status = str(error.status())
    if "DEADLINE_EXCEEDED" in status:
        return SessionError(f"{place}: Triton did not answer in time; see its load and its log, or ask another server")
    if "UNAVAILABLE" in status:
        return SessionError(
            f"{place}: Triton cannot be reached ({_reason(error)}); start it, or give another HOST:PORT"
        )
    return SessionError(f"{place}: Triton cannot compute it ({_reason(error)}); see the server's log")


def _reason(error: Any) -> str:  # noqa: ANN401
    return (str(error.message()).strip() or "no reason given").splitlines()[0][:300]
