"""The number of ONNX Runtime's threads, for libraries that have no option for it."""

from __future__ import annotations

import onnxruntime

__all__ = ["limit_threads"]


def limit_threads(count: int) -> None:
    """Let sessions that are made from now on compute with so many threads, unless their maker chooses a number."""
    options, session = onnxruntime.SessionOptions, onnxruntime.InferenceSession

    class Options(options):
        def __init__(self) -> None:
            super().__init__()
            self.intra_op_num_threads = count

    class Session(session):
        def __init__(self, model, sess_options=None, *more, **named) -> None:  # noqa: ANN001, ANN002, ANN003
            super().__init__(model, sess_options or Options(), *more, **named)

    onnxruntime.SessionOptions, onnxruntime.InferenceSession = Options, Session
