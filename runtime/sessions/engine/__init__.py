"""A deserialized TensorRT engine on a GPU: how it is loaded, run, fed and read."""
