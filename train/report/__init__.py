"""What people see of a training run: histograms in TensorBoard while it goes on, and a page at its end."""
