"""The report of a training run: histograms on TensorBoard while it runs, and a page at the end."""
