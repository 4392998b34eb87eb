"""Work spread over cores, and matrix products that keep to one thread."""

from __future__ import annotations

import threading
from operator import length_hint

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from secateur.ir import interpreter
from secateur.ir.parser import parse_graph
from secateur.ir.support.cores import MOST, single_threaded_products, streamed


def blas_threads() -> set[int]:
    return {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}


def test_streamed_keeps_the_order_and_reads_few_items_ahead() -> None:
    items = iter(range(5 * MOST))
    for number, result in enumerate(streamed(lambda item: item * item, items)):
        assert result == number * number
        assert length_hint(items) >= 4 * MOST - number


def test_products_keep_to_one_thread_until_the_last_has_left() -> None:
    first, second = single_threaded_products(), single_threaded_products()
    with threadpool_limits(limits=2, user_api="blas"):
        with first:
            other = threading.Thread(target=second.__enter__)
            other.start()
            other.join()
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == {2}


def test_the_interpreter_runs_a_graph_on_one_thread() -> None:
    graph = parse_graph('graph @g(%x: tensor<2xf32>) { %y = nn.relu(%x) : tensor<2xf32> return %y as "y" }')
    threads = set[int]()
    with threadpool_limits(limits=2, user_api="blas"):
        interpreter.run(graph, {"x": np.ones(2, np.float32)}, lambda *_: threads.update(blas_threads()))
        assert 1 in threads
        assert blas_threads() == {2}
