"""Whether crops look to the model as those did that it was verified on, camera by camera, without labels."""
