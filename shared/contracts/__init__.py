"""What crosses a process boundary, defined once: shapes, frames, jobs and errors. Nothing here awaits, reads a clock
or logs.
"""
