"""One reader per layout: from files on disk to splits of images and tracklets, with every problem found on the way."""
