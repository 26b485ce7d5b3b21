"""Lengths of 1,000 conversations as people have them: log-normal, means 220 tokens in and 200 out, sigma 1, at most
1,024 each. Prints one "prompt output" pair a line; chat-1000.txt is its output.

    python bench/traces/make_chat_trace.py > bench/traces/chat-1000.txt
"""

import math
import random

COUNT, MOST, SIGMA = 1000, 1024, 1.0


def lengths(generator: random.Random, mean: float) -> list[int]:
    """Log-normal with this mean after the cap: the location is searched for."""
    normals = [generator.gauss(0, SIGMA) for _ in range(COUNT)]

    def capped(location: float) -> list[int]:
        return [min(MOST, max(1, round(math.exp(location + SIGMA * n)))) for n in normals]

    low, high = 0.0, math.log(MOST)
    for _ in range(60):
        middle = (low + high) / 2
        if sum(capped(middle)) / COUNT < mean:
            low = middle
        else:
            high = middle
    return capped(high)


generator = random.Random(1)
for prompt, output in zip(lengths(generator, 220), lengths(generator, 200)):
    print(prompt, output)
