"""DLPack's structs: take a device's array from another library, and give one away, without a copy.

Source: dlpack.h (version 0.8), and "Python Specification for DLPack" of the array API standard.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_uint8, c_uint16, c_uint64, c_void_p, py_object
from typing import Any

import numpy as np

__all__ = ["CUDA", "read_capsule", "to_capsule"]

CUDA = 2
"""kDLCUDA, the device type of a GPU's own memory."""

_NAME = b"dltensor"
_CODES = {"i": 0, "u": 1, "f": 2}
_KINDS = {code: kind for kind, code in _CODES.items()}


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", c_void_p), ("deleter", c_void_p))


_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = c_void_p, (py_object, c_char_p)
_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = py_object, (c_void_p, c_char_p, c_void_p)
# With the address of a capsule that is being deleted: a reference to it must not be made.
_is_valid = ctypes.PYFUNCTYPE(c_int, c_void_p, c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer_of = ctypes.PYFUNCTYPE(c_void_p, c_void_p, c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))

_given: dict[int, tuple[object, ...]] = {}
"""What was given away: address of its struct -> what that struct and its memory need."""


def _give_back(managed: int) -> None:
    _given.pop(managed, None)


def _capsule_gone(capsule: int) -> None:
    if _is_valid(capsule, _NAME):  # nobody took what is in it
        _given.pop(_pointer_of(capsule, _NAME), None)


_deleter = ctypes.CFUNCTYPE(None, c_void_p)(_give_back)
_destructor = ctypes.CFUNCTYPE(None, c_void_p)(_capsule_gone)


def to_capsule(address: int, shape: tuple[int, ...], dtype: np.dtype[Any], ordinal: int, owner: object) -> object:
    """Return a capsule for `from_dlpack`; it keeps the owner until the other side is done."""
    sizes = (c_int64 * len(shape))(*shape)
    managed = _Managed(
        _Tensor(address, CUDA, ordinal, len(shape), _CODES[dtype.kind], dtype.itemsize * 8, 1, sizes, None, 0),
        None,
        ctypes.cast(_deleter, c_void_p),
    )
    _given[ctypes.addressof(managed)] = managed, sizes, owner
    return _new(ctypes.addressof(managed), _NAME, ctypes.cast(_destructor, c_void_p))


def read_capsule(capsule: object) -> tuple[int, tuple[int, ...], tuple[int, ...] | None, np.dtype[Any], int]:
    """Return what a capsule holds: address, shape, strides in elements or None, type, and the device's number.

    The capsule stays as it is: its memory lives as long as it does.

    Raises:
        ValueError: it is no capsule of DLPack, not of a GPU, or of a type that numpy does not have.
    """
    tensor = _Managed.from_address(_get_pointer(capsule, _NAME)).tensor
    if tensor.device_type != CUDA:
        raise ValueError(f"an array on a device of DLPack's type {tensor.device_type}: give one in a GPU's memory")
    if tensor.lanes != 1 or tensor.code not in _KINDS:
        raise ValueError(f"an array of DLPack's type {tensor.code} of {tensor.bits} bits: give uint8 or float32")
    dtype = np.dtype(f"{_KINDS[tensor.code]}{tensor.bits // 8}")
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
    return (tensor.data or 0) + tensor.byte_offset, shape, strides, dtype, tensor.device_id
