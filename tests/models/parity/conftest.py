"""Keep pytest from looking for examples in scripts that other interpreters run."""

collect_ignore = ["torch_reference.py"]
