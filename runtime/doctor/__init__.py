"""What works on this machine, what does not, why, and the command that mends it: the checks of `reid-doctor`."""
