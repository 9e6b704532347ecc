"""Streams an answer, and goes on exactly where it was when the connection breaks: also when the server was killed.

    pip install openai httpx
    python stream_and_resume.py "Tell me a story."
"""

import os
import sys
import time
import uuid

import httpx
import openai

BASE_URL = os.environ.get("OPENAI_BASE_URL", "http://localhost:8000/v1")
MODEL = os.environ.get("MODEL", "demo")

# The server is never silent for longer than 10 s: after 25 s the connection is dead.
client = openai.OpenAI(base_url=BASE_URL, api_key=os.environ.get("OPENAI_API_KEY", "any"), timeout=25)

# A stream that breaks raises APIConnectionError in openai 3, and httpx's own error in openai 2.
BROKEN = (httpx.TransportError, openai.APIConnectionError, openai.InternalServerError)
LAST = ("response.completed", "response.incomplete", "response.failed")


def events(**question):
    """The events of one response, each of them once and in order, whatever becomes of the connection."""
    key = {"Idempotency-Key": str(uuid.uuid4())}  # Asking twice is asking once.
    response_id, seen, pause = None, -1, 0.5
    while True:
        try:
            if response_id is None:
                stream = client.responses.create(**question, background=True, stream=True, extra_headers=key)
            else:
                stream = client.responses.retrieve(response_id, stream=True, starting_after=seen)
            with stream:
                for event in stream:
                    if event.type == "response.created":
                        response_id = event.response.id
                    seen, pause = event.sequence_number, 0.5
                    yield event
                    if event.type in LAST:
                        return
        except BROKEN:
            pass
        # A stream that ended without one of the last events was cut, however politely.
        time.sleep(pause)
        pause = min(2 * pause, 8)


def main():
    question = sys.argv[1] if len(sys.argv) > 1 else "Tell me a story."
    for event in events(model=MODEL, input=question):
        if event.type == "response.output_text.delta":
            print(event.delta, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
