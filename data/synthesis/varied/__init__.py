"""The style `varied`: free-form vehicles with textures, in weather and at night, behind occluders."""
