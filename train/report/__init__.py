"""What people see of a training run: histograms on TensorBoard while it goes, and a page at its end."""
