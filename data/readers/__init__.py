"""One reader a layout: from files on disk to splits of images and tracklets, with every problem met on the way."""
