"""What `reid.runtime.cuda` is made of: the packages and the library that drive CUDA, memory and kernels."""
