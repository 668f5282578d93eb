"""From a checkpoint to a verified bundle: the ONNX graph, its FP16 and INT8 variants, and engines."""
