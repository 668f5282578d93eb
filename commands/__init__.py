"""The command lines, one file per command: parse, call, print. Heavy imports stay inside, so that --help is quick."""
