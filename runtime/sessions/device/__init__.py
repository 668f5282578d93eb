"""Batches in the memory of a GPU, whatever computes them there: TensorRT or ONNX Runtime."""
