"""Celery on Redis, as bench measures it: a task that does nothing.

What a worker has taken is acknowledged when it has ended, so that none is lost with it.
"""

import os
import sys
import time
from multiprocessing import Process

import redis
from celery import Celery

app = Celery("cxnoop", broker=os.environ["CXBENCH_REDIS"])
app.conf.update(task_ignore_result=True, task_acks_late=True, broker_pool_limit=2)


@app.task(name="noop")
def noop(payload):
    pass


def submit(items, size):
    payload = "x" * size
    for _ in range(items):
        noop.delay(payload)


def main(items, callers, size):
    """Submit items, wait until all have ended, and print how many seconds that took."""
    seen = redis.Redis.from_url(os.environ["CXBENCH_REDIS"])
    began = time.monotonic()
    processes = [Process(target=submit, args=(items // callers, size)) for _ in range(callers)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
        if p.exitcode:
            sys.exit("a caller failed")
    while seen.llen("celery") or seen.hlen("unacked"):
        time.sleep(0.01)
    print(time.monotonic() - began)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
