"""The names that every fused graph uses: what goes in, what comes out, and how its parts are told apart."""

from __future__ import annotations

__all__ = ["BACKBONE", "FRAMES", "FRAME_EMBEDDING", "HEADS", "POOLED", "POOLING"]

FRAMES = "frames"
"""Input, uint8 [N, 3, H, W]."""

POOLING = "pooling"
"""Input, float32 [T, N]: row t holds the weights of the frames of tracklet t."""

FRAME_EMBEDDING = "frame_embedding"
"""Output, float32 [N, D], L2-normalized."""

POOLED = "pooled"
"""Output, float32 [T, D] = pooling @ frame_embedding."""

BACKBONE = "model.backbone."
"""Prefix of the names of the backbone's weights."""

HEADS = "model.heads."
"""Prefix of the names of the weights of the levels' heads."""
