#!/usr/bin/env python3
"""Random conversations, rendered by Jinja and by qwill: prints "N passed, N failed", exit 1 if any differ.

    python tests/text/differential_template.py build/release/tests/qwill_tests [--count 20000] [--seed 1]

Needs jinja2 (tests/requirements.txt). Every conversation goes through every known template. The cases are written to a
temporary file that the test program reads (ChatTemplate.EqualsTheReferenceOnGivenCases).
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile

import template_cases


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", help="the test program")
    parser.add_argument("--count", type=int, default=20000, help="conversations (20000)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    reference = template_cases.Reference()
    supply = template_cases.Conversations(random.Random(options.seed))
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".jsonl") as cases:
        for _ in range(options.count):
            cases.write(template_cases.case_line(reference, supply.request_text()) + "\n")
        cases.flush()
        done = subprocess.run(
            [options.tests, "--gtest_filter=ChatTemplate.EqualsTheReferenceOnGivenCases"],
            env={**os.environ, "QWILL_TEMPLATE_CASES": cases.name},
            stdout=subprocess.PIPE,
            text=True,
        )
    score = [line for line in done.stdout.splitlines() if line.endswith(" failed") and " passed, " in line]
    if done.returncode != 0 or not score:
        print(done.stdout)
        sys.exit(1)
    print(f"{options.count} conversations, {len(reference.texts)} templates: {score[-1]}")


if __name__ == "__main__":
    main()
