"""The commands that need no PyTorch; heavy imports are inside them, so that --help is quick."""
