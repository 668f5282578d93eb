"""Readers of data sets: from files on disk to splits of images and tracklets."""
