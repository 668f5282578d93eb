"""A gallery in a cluster of Milvus."""

from reid.runtime.galleries.milvus.gallery import MilvusGallery
from reid.runtime.galleries.milvus.indexes import Index
from reid.runtime.galleries.milvus.rebuilding import is_current, rebuild_index

__all__ = ["Index", "MilvusGallery", "is_current", "rebuild_index"]
