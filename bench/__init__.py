"""`reid-bench`: what each session and precision is worth on this machine, beside what people would take instead."""
