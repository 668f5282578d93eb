"""Meters of power, energy, clocks and memory."""
