"""Results do not depend on the thread that computes them."""

import pytest
import torch

from coopctx.game.streams import stream
from coopctx.game.threads import thread_pool
from coopctx.machine import available_cores


@pytest.mark.parametrize("rows", [1, 5, 10])
def test_a_new_thread_rounds_as_the_one_that_started_it(rows):
    left, right = (torch.rand(size, generator=stream(0, *size)) - 0.5 for size in ((rows, 64), (64, 192)))
    before = torch.get_num_threads()
    try:
        for n in {1, available_cores()}:
            torch.set_num_threads(n)
            with thread_pool(2) as pool:
                there = list(pool.map(torch.mm, [left, left], [right, right]))
            assert all(torch.equal(product, left @ right) for product in there)
    finally:
        torch.set_num_threads(before)
