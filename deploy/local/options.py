"""The command line of `make up`."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> argparse.Namespace:
    """An option wins over PARLEY_GATEWAYS, PARLEY_WORKERS and PARLEY_HISTORIES, and these win over the defaults."""
    parser = argparse.ArgumentParser(
        prog="make up",
        description="Runs all of Parley on this machine, with embedded stores and a demo agent.",
        usage='make up ARGS="[OPTION ...]"',
    )
    parser.add_argument(
        "--port", type=_port, default=8080, help="public port that all gateways share (default 8080; 0: any)"
    )
    for group, count in (("gateways", 1), ("workers", 2), ("histories", 1)):
        given = environment.get(f"PARLEY_{group.upper()}") or str(count)
        parser.add_argument(
            f"--{group}", type=_count, default=given, metavar="N", help=f"number of {group} (default {count})"
        )
    parser.add_argument(
        "--data-dir", type=Path, default=Path(".parley"), metavar="DIR", help="data, logs and the key (default .parley)"
    )
    parser.add_argument(
        "--ready-file", type=Path, metavar="FILE", help="JSON file, written when all is ready and kept current"
    )
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    return _number(text, 1, 64)


def _port(text: str) -> int:
    return _number(text, 0, 65_535)


def _number(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{text} is not a number from {least} to {most}")
    return int(text)
