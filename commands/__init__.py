"""The command lines, one file a command: parse, call, print. Heavy imports are inside them, so that --help is quick."""
