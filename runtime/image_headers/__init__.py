"""What an image file says of itself before it is decoded: its size, and whether it is whole and worth its pixels.

OpenCV recognizes a format by the content, whatever the file's suffix. Only formats that are read here may reach it, so
that nothing is decoded whose cost is unknown: there is one file a family, whose function returns width and height, and
raises ValueError with the reason, in a few words, for what is damaged, cut short, or would cost more time or memory
than its pixels say. Headers are read as OpenCV and the libraries behind it read them.
"""
