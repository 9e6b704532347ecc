#!/usr/bin/env python3
"""Serves a GGUF model over the OpenAI API, by xllamacpp: a real upstream for the tests, and to try things with.

    $(dev/upstream-python.sh) dev/upstream.py $(dev/fetch-model.sh) [--port 8080] [--slots 2]

Prints its base URL once it is ready, and serves until it is killed.
"""

import argparse
import signal
import sys


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serves a GGUF model over the OpenAI API, by xllamacpp.")
    parser.add_argument("model", help="the GGUF file")
    parser.add_argument("--port", type=int, default=8080, help="where to listen on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=2, help="how many answers at once (default: %(default)s)")
    parser.add_argument("--context", type=int, default=2048, help="tokens for each of them (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="processor cores to use (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    given = options()
    try:
        import xllamacpp
    except ImportError:
        sys.exit("upstream.py: this Python has no xllamacpp: pip install --only-binary :all: xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = given.model
    params.hostnames = ["127.0.0.1"]
    params.port = given.port
    params.n_parallel = given.slots
    params.n_ctx = given.context * given.slots
    params.cpuparams.n_threads = given.threads
    params.cpuparams_batch.n_threads = given.threads
    params.endpoint_metrics = True
    params.endpoint_slots = True
    server = xllamacpp.Server(params)
    print(f"{server.listening_address}/v1", flush=True)
    signal.pause()


main()
