"""Is a program safe and allowed, and if not, where in the source and why: `verify`, `explain`, and the `gate`."""
