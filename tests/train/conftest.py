from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def only_the_cpu() -> Iterator[None]:
    """Train on the CPU even where there is a GPU: only there, a run that was resumed has the same bits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield
